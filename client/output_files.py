"""Files that a command writes at its end: tried out at its start, their errors told with the file's name."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from client.errors import OutputFileError


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turns an OSError inside into OutputFileError. place: the file or folder that is written."""
    try:
        yield
    except OSError as error:
        raise OutputFileError(
            f"{place}: cannot be written: {error.strerror or error}. "
            "Name a place that you may write to, with room left."
        ) from error


def staged_for(file: Path) -> Path:
    """Where to write before the rename, in the same folder."""
    return file.with_name(f".{file.name}.{os.getpid()}.tmp")


def check_writable(file: Path) -> None:
    """Makes the file's folders and tries to write there; leaves no file. Raises OutputFileError."""
    with writing(file):
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        file.parent.mkdir(parents=True, exist_ok=True)
        staged = staged_for(file)
        staged.touch()
        staged.unlink()
