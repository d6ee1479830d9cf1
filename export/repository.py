"""Versions in a Triton model repository: published whole by a rename, numbered upwards, never overwritten."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from export.errors import ExportError

MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
Folders = Mapping[str, Path]


def versions(model_folder: Path) -> list[int]:
    """Published versions, oldest first."""
    if not model_folder.is_dir():
        return []
    return sorted(int(f.name) for f in model_folder.iterdir() if f.is_dir() and f.name.isdecimal())


def publish(repository: Path, configs: Mapping[str, str], fill: Callable[[Folders, int], None]) -> dict[str, Path]:
    """Publishes the next version of models that belong together, under one number. Returns {model name: its folder}.

    configs: {model name: config.pbtxt}. fill(folders, version): writes each model's version into its staging folder
    {model name: folder}; whatever it raises leaves the repository as it was. Once all are written, each version
    appears by one rename and its config.pbtxt by another, the first model's last; if one fails, those that appeared
    are taken back.
    Raises ExportError for a name that is no plain folder name, a folder that cannot be written, or if another export
    published meanwhile.
    """
    models = {name: _model_folder(repository, name) for name in configs}
    new = [folder for folder in models.values() if not folder.exists()]
    version = max((v for folder in models.values() for v in versions(folder)), default=0) + 1
    staged = {name: folder / f".staging-{version}-{os.getpid()}" for name, folder in models.items()}
    targets = {name: folder / str(version) for name, folder in models.items()}
    published: list[Path] = []
    try:
        for name, folder in models.items():
            _make(folder)
            staged[name].mkdir()
        fill(staged, version)
        for name, config in configs.items():
            (staged[name] / "config.pbtxt").write_text(config, encoding="utf-8")
        for name in reversed(list(configs)):
            if targets[name].exists():
                raise ExportError(f"{targets[name]}: published by another export meanwhile. Run the export again.")
            staged[name].rename(targets[name])
            published.append(targets[name])
        for name in reversed(list(configs)):
            (targets[name] / "config.pbtxt").replace(models[name] / "config.pbtxt")
        published.clear()
    except OSError as error:
        raise ExportError(f"{next(iter(targets.values()))}: could not be written: {error}") from error
    finally:
        for folder in (*published, *staged.values()):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in new:
            if not versions(folder):
                shutil.rmtree(folder, ignore_errors=True)
    return targets


def share_files(source: Path, target: Path) -> None:
    """A folder with the same files as another: hard links, so that they are on the disk once.

    Links rather than a symbolic link: each version stays whole when the other one is removed, and any copy of the
    repository is whole too. Where the file system has no hard links, the files are copied.
    """
    try:
        shutil.copytree(source, target, copy_function=os.link)
    except (OSError, shutil.Error):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)


def _model_folder(repository: Path, name: str) -> Path:
    if not MODEL_NAME.fullmatch(name):
        raise ExportError(f"model name: got {name!r}; expected letters, digits, '_', '-' and '.'")
    return repository / name


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"model repository: cannot write to {folder}: {error.strerror}") from error
