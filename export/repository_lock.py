"""One publisher at a time: a lock on the repository's folder, kept by the kernel, so that a kill frees it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from export.errors import ExportError, RepositoryLocked

POLL_S = 0.1
_held: set[Path] = set()


@contextmanager
def locked(repository: Path, timeout_s: float = 60.0) -> Iterator[None]:
    """Inside, no other process publishes, rolls back or prunes. May be entered again by the process that has it.

    Raises ExportError if the folder cannot be made, RepositoryLocked if another process has the lock for timeout_s.
    """
    key = repository.resolve()
    if key in _held:
        yield
        return
    try:
        repository.mkdir(parents=True, exist_ok=True)
        folder = os.open(repository, os.O_RDONLY)
    except OSError as error:
        raise ExportError(f"model repository: cannot write to {repository}: {error.strerror}") from error
    try:
        deadline = time.monotonic() + timeout_s
        while not _taken(folder):
            if time.monotonic() > deadline:
                raise RepositoryLocked(
                    f"model repository: {repository} is locked by another process, which publishes, rolls back or "
                    f"prunes, since {timeout_s:g} s. Try again when it has ended."
                )
            time.sleep(POLL_S)
        _held.add(key)
        yield
    finally:
        _held.discard(key)
        os.close(folder)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
