"""Checkpoints: one folder per epoch with weights, optimizer state, feature_spec.yaml, settings.yaml, metrics.json.

Each folder is whole: export and resume need nothing else. It is written beside and renamed, so a folder named
`epoch-NNNN` is always complete.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf
import yaml

from training.errors import CheckpointError
from training.feature_spec import FeatureSpec
from training.models import build_model
from training.settings import Settings

if TYPE_CHECKING:
    from training.models.base import CtrModel
    from training.step import TrainStep

EPOCH_FOLDER = re.compile(r"epoch-(\d{4,})")
KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """A complete epoch folder, opened."""

    folder: Path
    epoch: int
    spec: FeatureSpec
    settings: Settings
    metrics: dict[str, Any]

    def restore_model(self) -> CtrModel:
        """The trained model in float32. Raises CheckpointError if the weights do not fit what the folder describes."""
        model = build_model(self.spec, self.settings.model)
        self._read(tf.train.Checkpoint(model=model))
        return model

    def restore_step(self, step: TrainStep) -> None:
        """Weights, optimizer state and loss scale, into the variables of a step."""
        self._read(_tracked(step))

    def check_fits(self, spec: FeatureSpec, settings: Settings) -> None:
        """Raises CheckpointError naming each feature and model parameter in which a run differs from it."""
        differences = [
            f"feature {name}: checkpoint has {_shape_of(self.spec, name)}, this run has {_shape_of(spec, name)}"
            for name in {**self.spec.features, **spec.features}
            if _shape_of(self.spec, name) != _shape_of(spec, name)
        ]
        differences += [
            f"channel {name}: checkpoint has {_channel_of(self.spec, name)}, this run has {_channel_of(spec, name)}"
            for name in {**self.spec.channels, **spec.channels}
            if _channel_of(self.spec, name) != _channel_of(spec, name)
        ]
        ours, theirs = asdict(self.settings.model), asdict(settings.model)
        differences += [
            f"{name}: checkpoint has {ours[name]}, this run {theirs[name]}"
            for name in ours
            if ours[name] != theirs[name]
        ]
        if differences:
            raise CheckpointError(
                f"{self.folder} does not fit this run:\n"
                + "\n".join(f"  - {d}" for d in differences)
                + "\nTrain from scratch, or use the data and parameters of the checkpoint."
            )

    def _read(self, tracked: tf.train.Checkpoint) -> None:
        try:
            status = tracked.read(str(self.folder / "variables"))
            status.expect_partial().assert_existing_objects_matched()
        except (tf.errors.OpError, ValueError, AssertionError, IndexError, RuntimeError) as error:
            raise CheckpointError(
                f"{self.folder}: the weights are damaged or of another model: {str(error).splitlines()[0]}"
            ) from error


def open_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint folder, or the newest one in a folder of them. Raises CheckpointError if there is none."""
    folder = path if (path / "variables.index").is_file() or EPOCH_FOLDER.fullmatch(path.name) else _newest(path)
    needed = ("variables.index", "feature_spec.yaml", "settings.yaml", "metrics.json")
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"{folder}: not a checkpoint; {', '.join(missing)} missing")
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        epoch = int(metrics["epoch"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}/metrics.json: damaged: {error!r}. Use another epoch.") from error
    spec, settings = FeatureSpec.load(folder / "feature_spec.yaml"), Settings.load(folder / "settings.yaml")
    return Checkpoint(folder, epoch, spec, settings, metrics)


def save_checkpoint(
    path: Path, step: TrainStep, spec: FeatureSpec, settings: Settings, epoch: int, metrics: dict[str, Any]
) -> Path:
    """Writes `path/epoch-NNNN` and removes all but the newest two. Returns the folder."""
    folder = path / f"epoch-{epoch:04d}"
    staged = path / f".{folder.name}.{os.getpid()}.tmp"
    try:
        staged.mkdir(parents=True)
        _tracked(step).write(str(staged / "variables"))
        spec.save(staged / "feature_spec.yaml")
        (staged / "settings.yaml").write_text(yaml.safe_dump(settings.to_flat(), sort_keys=False), encoding="utf-8")
        (staged / "metrics.json").write_text(json.dumps(metrics, indent=2), encoding="utf-8")
        staged.rename(folder)
    except (OSError, tf.errors.OpError) as error:
        raise CheckpointError(f"{folder}: could not be written: {error}. Earlier checkpoints are untouched.") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    for old in epoch_folders(path)[:-KEPT]:
        shutil.rmtree(old)
    return folder


def epoch_folders(path: Path) -> list[Path]:
    """Complete checkpoints in a folder, oldest first."""
    found = [f for f in path.iterdir() if EPOCH_FOLDER.fullmatch(f.name)] if path.is_dir() else []
    return sorted(found, key=lambda f: int(f.name.removeprefix("epoch-")))


def _newest(path: Path) -> Path:
    folders = epoch_folders(path)
    if not folders:
        reason = "has no epoch-NNNN folder" if path.is_dir() else "is not a folder"
        raise CheckpointError(f"no checkpoint: {path} {reason}. Train with --save_checkpoint_path {path} first.")
    return folders[-1]


def _tracked(step: TrainStep) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(model=step.model, optimizer=step.optimizer, loss_scale=step.loss_scale)


def _shape_of(spec: FeatureSpec, name: str) -> str:
    feature = spec.features.get(name)
    return "nothing" if feature is None else f"cardinality {feature.cardinality}, dimensions {list(feature.dimensions)}"


def _channel_of(spec: FeatureSpec, name: str) -> str:
    return ", ".join(spec.channels.get(name, ())) or "nothing"
