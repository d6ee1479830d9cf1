"""Going on after a checkpoint: what of it a run takes over, and what must not have changed since."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.checkpoint import Checkpoint, open_checkpoint
from training.checkpoint_folders import checkpoint_folders, folder_name, write_best
from training.errors import CheckpointError
from training.feature_spec import FeatureSpec
from training.settings import Settings

# what the order of the rows within an epoch depends on, besides the data
ORDER = (
    "global_batch_size", "drop_remainder", "repeat_count", "shuffle", "shuffle_rows", "disable_cache", "cache_limit_mb",
)  # fmt: skip
LAYOUT = ("prebatch_train_size", "rows_per_group")  # the same rows in other blocks come in another order
MOMENTS = ("adam", "lazy_adam")  # optimizers whose state a checkpoint of another one does not have


@dataclass(frozen=True)
class Start:
    """Where a run starts, plain data for all ranks. epoch: complete ones. step: done of the next; is_trained: all of
    them, only its evaluation is left. seed: -1: unknown."""

    epoch: int = 0
    step: int = 0
    is_trained: bool = False
    seed: int = -1
    best: dict[str, Any] | None = None


def checkpoint_to_resume(settings: Settings, spec: FeatureSpec) -> Checkpoint | None:
    """The newest one of load_checkpoint_path, checked against this run; None to start anew.

    Raises CheckpointError if it does not fit, or if the run would write among the checkpoints of another one. Other
    data of the same form is a warning after a whole epoch, and an error within an epoch, where rows would be
    trained on twice or not at all.
    """
    load, save = settings.results.load_checkpoint_path, settings.results.save_checkpoint_path
    if save and checkpoint_folders(Path(save)) and not (load and Path(load).resolve() == Path(save).resolve()):
        raise CheckpointError(
            f"save_checkpoint_path: {save} already holds checkpoints of another run. Resume it with "
            f"--load_checkpoint_path {save}, or choose another folder."
        )
    if not load:
        return None
    checkpoint = open_checkpoint(Path(load), newest=True)
    checkpoint.check_fits(spec, settings)
    _check_optimizer(checkpoint, settings)
    changes = _data_changes(checkpoint.spec, spec)
    if checkpoint.step and not checkpoint.is_trained:
        changes += _order_changes(checkpoint.settings, settings) + _differences(LAYOUT, checkpoint.spec, spec)
        if changes:
            raise CheckpointError(
                f"{checkpoint.folder}: epoch {checkpoint.epoch + 1} was interrupted after step {checkpoint.step}, and "
                "its other rows can only be told with the same data, seed and batches:\n"
                + "\n".join(f"  - {c}" for c in changes)
                + "\nUse those of the checkpoint, or load an earlier epoch's folder."
            )
    elif changes:
        print(f"warning: {checkpoint.folder} was trained on other data: {'; '.join(changes)}", file=sys.stderr)
    return checkpoint


def start_of(checkpoint: Checkpoint | None) -> Start:
    if checkpoint is None:
        return Start()
    seed, best = checkpoint.settings.run.seed, checkpoint.metrics.get("best")
    return Start(checkpoint.epoch, checkpoint.step, checkpoint.is_trained, seed, best)


def take_over_best(checkpoint: Checkpoint, save: Path) -> None:
    """Makes best.json of the folder that is written to name the best epoch so far; copies it there if need be."""
    record = checkpoint.metrics.get("best")
    if not record:
        return
    name = folder_name(record["epoch"])
    source = checkpoint.folder.parent / name
    if source.is_dir() and not (save / name).exists():
        staged = save / f".{name}.copy.tmp"
        shutil.rmtree(staged, ignore_errors=True)
        try:
            shutil.copytree(source, staged)
            staged.rename(save / name)
        except OSError as error:
            shutil.rmtree(staged, ignore_errors=True)
            raise CheckpointError(f"{save / name}: cannot copy the best epoch: {error}") from error
    write_best(save, record)


def _check_optimizer(checkpoint: Checkpoint, settings: Settings) -> None:
    before, now = checkpoint.settings.training.optimizer, settings.training.optimizer
    if before not in MOMENTS and now in MOMENTS:
        raise CheckpointError(
            f"optimizer: got {now}, but {checkpoint.folder} was trained with {before} and has no moments for it. "
            f"Resume with --optimizer {before}, or train from scratch."
        )


def _data_changes(before: FeatureSpec, now: FeatureSpec) -> list[str]:
    return _differences(("rows", "data_fingerprint"), before, now)


def _differences(names: Iterable[str], before: FeatureSpec, now: FeatureSpec) -> list[str]:
    """Of the metadata."""
    changes = []
    for name in names:
        old, new = before.metadata.get(name), now.metadata.get(name)
        if old != new:
            changes.append(f"{name}: checkpoint has {old}, this run {new}")
    return changes


def _order_changes(before: Settings, now: Settings) -> list[str]:
    old, new = before.to_flat(), now.to_flat()
    names = [name for name in ORDER if old[name] != new[name]]
    if now.run.seed >= 0 and old["seed"] != now.run.seed:
        names.append("seed")
    return [f"{name}: checkpoint has {old[name]}, this run {new[name]}" for name in names]
