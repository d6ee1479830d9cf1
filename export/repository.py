"""Versions in a Triton model repository: published whole by a rename, numbered upwards, never overwritten."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from export.errors import ExportError

MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def versions(model_folder: Path) -> list[int]:
    """Published versions, oldest first."""
    if not model_folder.is_dir():
        return []
    return sorted(int(f.name) for f in model_folder.iterdir() if f.is_dir() and f.name.isdecimal())


def publish(repository: Path, name: str, config: str, fill: Callable[[Path, int], None]) -> Path:
    """Publishes the next version of a model. Returns its folder.

    fill(folder, version): writes the version into a staging folder; whatever it raises leaves the repository as
    it was. The version appears by one rename, then config.pbtxt by another.
    Raises ExportError for a name that is no plain folder name, a folder that cannot be written, or if another export
    published meanwhile.
    """
    if not MODEL_NAME.fullmatch(name):
        raise ExportError(f"model name: got {name!r}; expected letters, digits, '_', '-' and '.'")
    model_folder = repository / name
    is_new = not model_folder.exists()
    try:
        model_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"model repository: cannot write to {model_folder}: {error.strerror}") from error
    version = max(versions(model_folder), default=0) + 1
    staged = model_folder / f".staging-{version}-{os.getpid()}"
    target = model_folder / str(version)
    try:
        staged.mkdir()
        fill(staged, version)
        staged_config = staged / "config.pbtxt"
        staged_config.write_text(config, encoding="utf-8")
        if target.exists():
            raise ExportError(f"{target}: published by another export meanwhile. Run the export again.")
        staged.rename(target)
        (target / "config.pbtxt").replace(model_folder / "config.pbtxt")
    except OSError as error:
        raise ExportError(f"{target}: could not be written: {error}") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        if is_new and not versions(model_folder):
            shutil.rmtree(model_folder, ignore_errors=True)
    return target
