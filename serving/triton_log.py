"""Picks out of Triton's log what a user needs to see when the server did not start."""

from __future__ import annotations

import re
from pathlib import Path

MAX_LINES = 15
ERROR_LINE = re.compile(r"^E\d{4} [\d:.]+ \d+ [^\]]+\] ?")  # E1121 04:31:05.123456 1234 file.cc:12] text
# said on every machine without a GPU
HARMLESS = ("CudaDriverHelper has not been initialized",)


def tail(log_file: Path, lines: int = MAX_LINES) -> str:
    """The last lines of the log."""
    return "\n".join(_read_lines(log_file)[-lines:])


def error_lines(log_file: Path) -> str:
    """The log's error lines without their prefixes, each once; the last lines if there is no error line."""
    errors: dict[str, None] = {}
    for line in _read_lines(log_file):
        text = ERROR_LINE.sub("", line).strip().strip('"')
        if ERROR_LINE.match(line) and text and not text.startswith(HARMLESS):
            errors[text] = None
    return "\n".join(list(errors)[-MAX_LINES:]) or tail(log_file)


def _read_lines(log_file: Path) -> list[str]:
    if not log_file.is_file():
        return []
    return log_file.read_text(errors="replace").splitlines()
