"""Where the tools of a sweep read and write: a hidden folder beside its results, gone at the end."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from client.output_files import writing


@contextmanager
def work_folder(output_dir: Path) -> Iterator[Path]:
    """Makes output_dir if need be; one that it made and that stays empty goes too.

    Raises OutputFileError, so that a place that cannot be written is known before anything is measured.
    """
    is_new = not output_dir.exists()
    with writing(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".sweep-", dir=output_dir.absolute())
    try:
        with folder as name:
            yield Path(name)
    finally:
        if is_new:
            with suppress(OSError):
                output_dir.rmdir()
