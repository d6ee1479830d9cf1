"""Decisions on record: a DLLogger line each, added to a file that is never truncated."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from export.author import author
from training.dllogger import DLLogger, LogError


class DecisionLog:
    """A line that cannot be written is printed instead: a full disk must not end the service."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def record(self, decision: str, **facts: Any) -> None:
        """decision: published, rejected, failed, rolled_back, … facts: reason, version, dataset, metrics."""
        line = {"decision": decision, "by": author(), **facts}
        try:
            with DLLogger(self._file, append=True) as log:
                log.log((), line)
        except LogError as error:
            print(f"{error}\n{line}", file=sys.stderr, flush=True)
