"""The folders of checkpoints in one folder: their names, their order, which is the best, which are kept.

`epoch-0003` is the state after epoch 3; `epoch-0004-step-000120` is the state after 120 steps of epoch 4, written
when a run was interrupted, and after the last step of an epoch, before its evaluation. `best.json` names the best
epoch, where a validation mapping chose one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from training.errors import CheckpointError

FOLDER = re.compile(r"epoch-(\d{4,})(?:-step-(\d+))?")
UNFINISHED = re.compile(r"\.epoch-.*\.tmp")
BEST_FILE = "best.json"
KEPT_EPOCHS = 2


def folder_name(epoch: int, step: int = 0) -> str:
    """epoch: complete epochs. step: steps done of the one after, 0 for none."""
    return f"epoch-{epoch + 1:04d}-step-{step:06d}" if step else f"epoch-{epoch:04d}"


def position(folder: Path) -> tuple[int, int]:
    """(complete epochs, steps done of the next one) of a folder's name."""
    match = FOLDER.fullmatch(folder.name)
    if match is None:
        raise ValueError(f"not the name of a checkpoint: {folder.name}")
    epoch, step = int(match[1]), int(match[2] or 0)
    return (epoch - 1, step) if match[2] else (epoch, 0)


def checkpoint_folders(path: Path) -> list[Path]:
    """All complete checkpoints in a folder, oldest first; those of interrupted epochs too."""
    found = [f for f in path.iterdir() if FOLDER.fullmatch(f.name)] if path.is_dir() else []
    return sorted(found, key=position)


def epoch_folders(path: Path) -> list[Path]:
    """Those of whole epochs, oldest first."""
    return [f for f in checkpoint_folders(path) if position(f)[1] == 0]


def best_folder(path: Path) -> Path | None:
    """The epoch that best.json names. None without that file, or if the folder is gone."""
    try:
        epoch = int(json.loads((path / BEST_FILE).read_text(encoding="utf-8"))["epoch"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path / BEST_FILE}: damaged: {error!r}. Name an epoch's folder, or delete the file."
        ) from error
    folder = path / folder_name(epoch)
    return folder if folder.is_dir() else None


def write_best(path: Path, record: dict[str, Any]) -> None:
    """Names the best epoch, if its folder is here. Beside, then renamed."""
    if not (path / folder_name(record["epoch"])).is_dir():
        return
    staged = path / f".{BEST_FILE}.{os.getpid()}.tmp"
    try:
        staged.write_text(json.dumps(record, indent=2), encoding="utf-8")
        staged.replace(path / BEST_FILE)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise CheckpointError(f"{path / BEST_FILE}: cannot be written: {error.strerror}") from error


def prune(path: Path) -> None:
    """Removes all but the newest two epochs, the best, and an interrupted epoch that is newer than they are."""
    folders = checkpoint_folders(path)
    kept = {*epoch_folders(path)[-KEPT_EPOCHS:], best_folder(path), *folders[-1:]}
    for folder in folders:
        if folder not in kept:
            shutil.rmtree(folder)


def remove_unfinished(path: Path) -> None:
    """What a run that was killed while it wrote has left behind."""
    for folder in path.iterdir():
        if UNFINISHED.fullmatch(folder.name):
            shutil.rmtree(folder, ignore_errors=True)
