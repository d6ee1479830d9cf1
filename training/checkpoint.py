"""Checkpoints: one folder per epoch with weights, optimizer state, feature_spec.yaml, settings.yaml, metrics.json.

Each folder is whole: export and resume need nothing else. It is written beside, flushed to the disk and renamed,
so a folder named `epoch-NNNN` is always complete, also after a kill or a power cut.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
import yaml

from training.checkpoint_folders import (
    FOLDER,
    best_folder,
    checkpoint_folders,
    epoch_folders,
    folder_name,
    prune,
    write_best,
)
from training.errors import CheckpointError
from training.feature_spec import FeatureSpec
from training.flushing import flush
from training.models import build_model
from training.settings import Settings

if TYPE_CHECKING:
    from training.models.base import CtrModel
    from training.step import TrainStep

EPOCH_SCORES_FILE = "pass_scores.npz"


@dataclass(frozen=True)
class Checkpoint:
    """A complete folder, opened. epoch: complete epochs. step: steps done of the next one, if it was interrupted.

    is_trained: of the next epoch only the evaluation is left.
    """

    folder: Path
    epoch: int
    spec: FeatureSpec
    settings: Settings
    metrics: dict[str, Any]
    step: int = 0
    is_trained: bool = False

    def restore_model(self) -> CtrModel:
        """The trained model in float32. Raises CheckpointError if the weights do not fit what the folder describes."""
        model = build_model(self.spec, self.settings.model)
        self.restore_weights(model)
        return model

    def restore_weights(self, model: CtrModel) -> None:
        """The weights, into a model that was built the same way."""
        self._read(tf.train.Checkpoint(model=model))

    def restore_step(self, step: TrainStep) -> None:
        """Weights, optimizer state and loss scale, into the variables of a step."""
        self._read(_tracked(step))

    def pass_scores(self) -> tuple[np.ndarray, np.ndarray]:
        """(labels, logits), each [n]: the rows of the interrupted epoch that were trained on; none for a whole one."""
        if not self.step:
            return np.empty(0, np.float32), np.empty(0, np.float32)
        try:
            with np.load(self.folder / EPOCH_SCORES_FILE, allow_pickle=False) as arrays:
                return arrays["label"], arrays["logit"]
        except (OSError, ValueError, KeyError) as error:
            file = self.folder / EPOCH_SCORES_FILE
            raise CheckpointError(f"{file}: damaged: {error!r}. Use another epoch.") from error

    def check_fits(self, spec: FeatureSpec, settings: Settings) -> None:
        """Raises CheckpointError naming each feature and model parameter in which a run differs from it."""
        differences = self.spec.differences(spec, "checkpoint", "this run")
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


def open_checkpoint(path: Path, newest: bool = False) -> Checkpoint:
    """A checkpoint folder itself, or one out of a folder of them.

    Out of several it takes the best epoch if best.json names one, else the newest whole epoch; with newest=True,
    as for resuming, the newest of all, also that of an interrupted epoch. Raises CheckpointError if there is none.
    """
    is_one = (path / "variables.index").is_file() or FOLDER.fullmatch(path.name)
    folder = path if is_one else _newest(path) if newest else _best(path)
    needed = ("variables.index", "feature_spec.yaml", "settings.yaml", "metrics.json")
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"{folder}: not a checkpoint; {', '.join(missing)} missing")
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        epoch, step, is_trained = int(metrics["epoch"]), int(metrics.get("step", 0)), bool(metrics.get("is_trained"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder}/metrics.json: damaged: {error!r}. Use another epoch.") from error
    spec, settings = FeatureSpec.load(folder / "feature_spec.yaml"), Settings.load(folder / "settings.yaml")
    return Checkpoint(folder, epoch, spec, settings, metrics, step, is_trained)


def save_checkpoint(
    path: Path,
    step: TrainStep,
    spec: FeatureSpec,
    settings: Settings,
    epoch: int,
    metrics: dict[str, Any],
    steps_done: int = 0,
    pass_scores: tuple[np.ndarray, np.ndarray] | None = None,
    same_state: Path | None = None,
) -> Path:
    """Writes `path/epoch-NNNN`, names the best epoch (metrics["best"]), removes what is not kept. Returns the folder.

    epoch: complete epochs. steps_done, pass_scores: of an epoch that is not complete, see Checkpoint. settings: with
    the seed that the run took. same_state: a checkpoint of the same weights, whose files are linked, not written again.
    Raises CheckpointError if it cannot be written; then nothing has changed.
    """
    folder = path / folder_name(epoch, steps_done)
    if steps_done and folder.is_dir():  # interrupted again before a step was done
        return folder
    staged = path / f".{folder.name}.{os.getpid()}.tmp"
    try:
        staged.mkdir(parents=True)
        if same_state is None or not _linked(same_state, staged):
            _tracked(step).write(str(staged / "variables"))
        spec.save(staged / "feature_spec.yaml")
        (staged / "settings.yaml").write_text(yaml.safe_dump(settings.to_flat(), sort_keys=False), encoding="utf-8")
        place = {"epoch": epoch, **({"step": steps_done} if steps_done else {})}
        (staged / "metrics.json").write_text(json.dumps({**metrics, **place}, indent=2), encoding="utf-8")
        if pass_scores is not None:
            np.savez(staged / EPOCH_SCORES_FILE, label=pass_scores[0], logit=pass_scores[1])
        for file in staged.iterdir():
            flush(file)
        staged.rename(folder)
        flush(path)
    except (OSError, tf.errors.OpError) as error:
        raise CheckpointError(
            f"{folder}: could not be written: {_reason(error)}. Earlier checkpoints are untouched; free space and "
            f"resume with --load_checkpoint_path {path}."
        ) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    if metrics.get("best"):
        write_best(path, metrics["best"])
    prune(path)
    return folder


def _linked(source: Path, target: Path) -> bool:
    """Links the files of weights and optimizer state; False on a file system that has no links."""
    try:
        for file in source.glob("variables.*"):
            os.link(file, target / file.name)
    except OSError:
        for file in target.glob("variables.*"):
            file.unlink()
    return (target / "variables.index").is_file()


def _reason(error: OSError | tf.errors.OpError) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error.message).splitlines()[0].rsplit("; ", 1)[-1].split(" [Op:")[0]  # without node and file names


def _newest(path: Path) -> Path:
    folders = checkpoint_folders(path)
    if not folders:
        raise _nothing_in(path)
    return folders[-1]


def _best(path: Path) -> Path:
    best = best_folder(path)
    if best is not None:
        return best
    epochs = epoch_folders(path)
    if epochs:
        return epochs[-1]
    if checkpoint_folders(path):
        raise CheckpointError(
            f"{path}: holds an interrupted epoch only. Resume it with --load_checkpoint_path {path}, "
            f"or name the folder {_newest(path)} itself."
        )
    raise _nothing_in(path)


def _nothing_in(path: Path) -> CheckpointError:
    reason = "has no epoch-NNNN folder" if path.is_dir() else "is not a folder"
    return CheckpointError(f"no checkpoint: {path} {reason}. Train with --save_checkpoint_path {path} first.")


def _tracked(step: TrainStep) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(model=step.model, optimizer=step.optimizer, loss_scale=step.loss_scale)
