"""What is renamed into place is on the disk before: whole after a power cut too."""

from __future__ import annotations

import os
from pathlib import Path


def flush(path: Path) -> None:
    """A file or a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
