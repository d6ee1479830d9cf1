"""Versions in a Triton model repository: published whole by a rename, numbered upwards, never overwritten.

A version's folder has the SavedModel, its specification, its manifest and its own config.pbtxt. The config.pbtxt of the
model, which Triton reads, is a copy of that of the live version; see export/live_version.py.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from export.errors import ExportError
from export.live_version import CONFIG, live_version, make_live
from export.repository_lock import locked
from training.flushing import flush

MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
REJECTED = ".rejected-"
REASON_FILE = "reason.txt"
STAGING = ".staging-"
Folders = Mapping[str, Path]


def versions(model_folder: Path) -> list[int]:
    """Published versions, oldest first."""
    if not model_folder.is_dir():
        return []
    return sorted(int(f.name) for f in model_folder.iterdir() if f.is_dir() and f.name.isdecimal())


def rejected_versions(model_folder: Path) -> dict[int, str]:
    """{version: why it was taken out}, oldest first."""
    if not model_folder.is_dir():
        return {}
    numbers = [f.name.removeprefix(REJECTED) for f in model_folder.iterdir() if f.name.startswith(REJECTED)]
    return {n: _reason(model_folder / f"{REJECTED}{n}") for n in sorted(int(n) for n in numbers if n.isdecimal())}


def next_version(model_folders: Sequence[Path]) -> int:
    """One more than the highest number of all of them; a number that was taken out is not used again."""
    return max((v for f in model_folders for v in (*versions(f), *rejected_versions(f))), default=0) + 1


def publish(repository: Path, configs: Mapping[str, str], fill: Callable[[Folders, int], None]) -> dict[str, Path]:
    """Publishes the next version of models that belong together, under one number. Returns {model name: its folder}.

    configs: {model name: config.pbtxt}. fill(folders, version): writes each model's version into its staging folder
    {model name: folder}; whatever it raises leaves the repository as it was. Once all are written and flushed, each
    version appears by one rename, the first model's last, and is made live; if one fails, those that appeared are
    taken back.
    Raises ExportError for a name that is no plain folder name, a folder that cannot be written, or if another process
    keeps the repository locked.
    """
    models = {name: _model_folder(repository, name) for name in configs}
    with locked(repository):
        return _publish(repository, models, configs, fill)


def _publish(
    repository: Path, models: Folders, configs: Mapping[str, str], fill: Callable[[Folders, int], None]
) -> dict[str, Path]:
    new = [folder for folder in models.values() if not folder.exists()]
    version = next_version(list(models.values()))
    staged = {name: folder / f"{STAGING}{version}-{os.getpid()}" for name, folder in models.items()}
    targets = {name: folder / str(version) for name, folder in models.items()}
    published: list[Path] = []
    try:
        for name, folder in models.items():
            _make(folder)
            staged[name].mkdir()
        fill(staged, version)
        for name, config in configs.items():
            (staged[name] / CONFIG).write_text(config, encoding="utf-8")
            _flush(staged[name])
        for name in reversed(list(configs)):
            if targets[name].exists():
                raise ExportError(f"{targets[name]}: published by another export meanwhile. Run the export again.")
            staged[name].rename(targets[name])
            published.append(targets[name])
        make_live(repository, list(configs), version)
        published.clear()
    except OSError as error:
        raise ExportError(f"{next(iter(targets.values()))}: could not be written: {error}") from error
    finally:
        for folder in published:
            with contextlib.suppress(OSError):
                _remove(folder)
        for folder in staged.values():
            shutil.rmtree(folder, ignore_errors=True)
        for folder in new:
            if not versions(folder):
                shutil.rmtree(folder, ignore_errors=True)
    return targets


def take_out(repository: Path, names: Sequence[str], version: int, reason: str) -> None:
    """Moves a version of these models to `.rejected-<version>`, where Triton does not look, with the reason beside it.

    The first model's goes first, as its version is the one that counts. Does nothing for a model without it.
    """
    for name in names:
        folder = repository / name / str(version)
        if folder.is_dir():
            with contextlib.suppress(OSError):  # on a full disk it goes without
                (folder / REASON_FILE).write_text(reason + "\n", encoding="utf-8")
            folder.rename(repository / name / f"{REJECTED}{version}")


def prune(repository: Path, names: Sequence[str], keep: int) -> list[int]:
    """Removes all but the newest `keep` versions, the live one, and the last one that was taken out.

    Returns the versions of the first model that went.
    """
    live = live_version(repository / names[0])
    gone = [v for v in versions(repository / names[0])[: -keep or None] if v != live]
    for name in names:
        kept = {*versions(repository / names[0])[-keep:], live}
        doomed = [repository / name / str(v) for v in versions(repository / name) if v not in kept]
        taken_out = list(rejected_versions(repository / name))[:-1]
        doomed += [repository / name / f"{REJECTED}{v}" for v in taken_out]
        for folder in doomed:
            _remove(folder)
    return gone


def remove_unfinished(repository: Path, names: Sequence[str]) -> None:
    """What a killed publish left: staging folders, and versions that appeared without that of the first model.

    The first model's version appears last, so a newer one of another model is unfinished. Call it under the lock.
    """
    newest = max(versions(repository / names[0]), default=0)
    rejected = max(rejected_versions(repository / names[0]), default=0)
    for name in names:
        for folder in (repository / name).glob(f"{STAGING}*"):
            shutil.rmtree(folder, ignore_errors=True)
        for version in versions(repository / name) if name != names[0] else ():
            if version > max(newest, rejected):
                shutil.rmtree(repository / name / str(version))
            elif version in rejected_versions(repository / names[0]):
                take_out(repository, [name], version, "its model was taken out")


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


def _remove(version: Path) -> None:
    """Renamed away first, so that it is never seen in part."""
    removed = version.with_name(f"{STAGING}removed-{version.name}")
    version.rename(removed)
    shutil.rmtree(removed, ignore_errors=True)


def _reason(folder: Path) -> str:
    try:
        return (folder / REASON_FILE).read_text(encoding="utf-8").strip()
    except OSError:
        return "unknown"


def _model_folder(repository: Path, name: str) -> Path:
    if not MODEL_NAME.fullmatch(name):
        raise ExportError(f"model name: got {name!r}; expected letters, digits, '_', '-' and '.'")
    return repository / name


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"model repository: cannot write to {folder}: {error.strerror}") from error


def _flush(folder: Path) -> None:
    """To the disk, so that a version that appears is whole after a power cut too."""
    for path in (*folder.rglob("*"), folder):
        flush(path)
