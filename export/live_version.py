"""Which version of a model Triton serves: the newest, or the one that the model's config.pbtxt names (a rollback).

The model's config.pbtxt is a copy of the live version's own, since versions may differ in their inputs. Where the live
version is not the newest, `version_policy { specific { versions: [n] } }` is added to the copy.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from export.errors import ExportError
from training.flushing import flush

CONFIG = "config.pbtxt"


def pinned_version(config: str) -> int | None:
    """The only version that a config.pbtxt lets Triton load; None for the newest. Raises ExportError if damaged."""
    chosen = _parsed(config).version_policy.specific.versions
    return int(max(chosen)) if chosen else None


def pinned(config: str, version: int) -> str:
    """The config with the policy to load that version only."""
    message = _parsed(_unpinned(config))
    message.version_policy.specific.versions.append(version)
    return str(text_format.MessageToString(message))


def renamed(config: str, model: str) -> str:
    """The config for another model's name, without a version policy."""
    message = _parsed(_unpinned(config))
    message.name = model
    return str(text_format.MessageToString(message))


def live_version(model_folder: Path) -> int | None:
    """None without any. A pinned version that is gone counts as none."""
    numbers = [int(f.name) for f in model_folder.glob("[0-9]*") if f.is_dir() and f.name.isdecimal()]
    config = model_folder / CONFIG
    chosen = pinned_version(config.read_text(encoding="utf-8")) if config.is_file() else None
    if chosen is not None:
        return chosen if chosen in numbers else None
    return max(numbers, default=None)


def make_live(repository: Path, names: Sequence[str], version: int) -> None:
    """Writes the config.pbtxt of each model for that version, each by a rename; the first model's last.

    Raises ExportError if a model lacks the version; then nothing has changed.
    """
    configs = {}
    for name in names:
        folder = repository / name
        if not (folder / str(version)).is_dir():
            raise ExportError(f"version: got {version}; {folder} has no such version. See `recserve versions list`.")
        own = folder / str(version) / CONFIG
        before_own_configs = folder / CONFIG  # an older export kept none with the version
        text = (own if own.is_file() else before_own_configs).read_text(encoding="utf-8")
        newest = max(int(f.name) for f in folder.glob("[0-9]*") if f.name.isdecimal())
        configs[name] = (_unpinned(text) if not own.is_file() else text) if version == newest else pinned(text, version)
    staged = {name: repository / name / f".{CONFIG}.{os.getpid()}.tmp" for name in names}
    try:
        for name, file in staged.items():
            file.write_text(configs[name], encoding="utf-8")
            flush(file)
        for name in reversed(names):
            staged[name].replace(repository / name / CONFIG)
            flush(repository / name)
    finally:
        for file in staged.values():
            file.unlink(missing_ok=True)


def _unpinned(config: str) -> str:
    message = _parsed(config)
    message.ClearField("version_policy")
    return str(text_format.MessageToString(message))


def _parsed(config: str) -> model_config_pb2.ModelConfig:
    try:
        return text_format.Parse(config, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise ExportError(f"config.pbtxt: damaged: {error}. Copy that of the version's own folder over it.") from error
