"""One dataset's run: train, evaluate the live checkpoint on its test rows, export. Each a child process, repeatable."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.exported import Exported
from deploy.score_file import FILE_NAME, TestScores
from deploy.sidecar.children import RunStage
from deploy.sidecar.settings import SidecarSettings
from deploy.sidecar.watch import SPEC_FILE, Dataset
from training.feature_spec import FeatureSpec, FeatureSpecError

EPOCH = re.compile(r"epoch-(\d{4,})")


@dataclass(frozen=True)
class WarmStart:
    """checkpoint: the folder of one epoch to go on from, None from scratch. reason: why it is that."""

    checkpoint: Path | None
    reason: str

    @property
    def epoch(self) -> int:
        return 0 if self.checkpoint is None else epoch_of(self.checkpoint)


class TrainingRun:
    """folder: of this run alone; what a killed run left there is gone on with."""

    def __init__(self, folder: Path, dataset: Dataset, settings: SidecarSettings, run: RunStage) -> None:
        self.folder, self._dataset, self._settings, self._run = folder, dataset, settings, run
        self.log_file = folder / "output.log"

    @property
    def _checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def train(self, warm: WarmStart) -> TestScores:
        """Trains to the end; goes on from what an earlier try saved. Returns the scores of the test rows.

        Raises StageFailed, or DatasetRefused for a damaged score file.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self._settings
        epochs = warm.epoch + settings.warm_epochs if warm.checkpoint else settings.epochs
        load = warm.checkpoint
        if any(_position(f) > (warm.epoch, False) for f in self._checkpoints.glob("epoch-*")):
            load = self._checkpoints
        else:  # at most a copy of the best epoch before
            shutil.rmtree(self._checkpoints, ignore_errors=True)
        self._run(
            "train",
            [
                "train", *self._model_options(), "--dataset_dir", str(self._dataset.folder),
                "--results_dir", str(self.folder / "results"), "--save_checkpoint_path", str(self._checkpoints),
                "--epochs", str(epochs), *(("--load_checkpoint_path", str(load)) if load else ()),
            ],
            self.log_file,
        )  # fmt: skip
        return TestScores.load(self.folder / "results" / FILE_NAME)

    def evaluate(self, checkpoint: Path) -> TestScores:
        """A checkpoint on the test rows of this dataset. Nothing is trained: its epochs are all done."""
        results = self.folder / "baseline"
        self._run(
            "evaluate",
            [
                "train", *self._model_options(), "--dataset_dir", str(self._dataset.folder),
                "--results_dir", str(results), "--load_checkpoint_path", str(checkpoint),
                "--epochs", str(epoch_of(checkpoint)),
            ],
            self.log_file,
        )  # fmt: skip
        return TestScores.load(results / FILE_NAME)

    def checkpoint(self, epoch: int) -> Path:
        return self._checkpoints / f"epoch-{epoch:04d}"

    def export(self, epoch: int) -> Exported:
        """Into a folder of this run, made anew. Raises StageFailed."""
        target = self.exported_folder
        shutil.rmtree(target, ignore_errors=True)
        self._run(
            "export",
            [
                "export", "--checkpoint", str(self.checkpoint(epoch)), "--model_repository", str(target),
                "--model_name", self._settings.name, *self._settings.export_options,
            ],
            self.log_file,
        )  # fmt: skip
        return Exported.open(target, self._settings.name)

    @property
    def exported_folder(self) -> Path:
        return self.folder / "exported"

    def _model_options(self) -> list[str]:
        recipe = self._settings.recipe
        return [*(("--recipe", str(recipe)) if recipe else ()), *self._settings.train_options]


def options_fingerprint(settings: SidecarSettings) -> str:
    """Of the recipe and the training options: a checkpoint of others is not gone on with."""
    recipe = settings.recipe.read_bytes() if settings.recipe else b""
    return hashlib.sha256(recipe + json.dumps(settings.train_options).encode()).hexdigest()[:16]


def warm_start(manifest: Mapping[str, Any] | None, spec: FeatureSpec, options: str) -> WarmStart:
    """manifest: of the live version, None without one. options: options_fingerprint of this run."""
    if manifest is None:
        return WarmStart(None, "there is no version yet")
    checkpoint = Path(str(manifest.get("checkpoint", "")))
    if not EPOCH.fullmatch(checkpoint.name) or not (checkpoint / SPEC_FILE).is_file():
        return WarmStart(None, f"version {manifest.get('version')}: its checkpoint {checkpoint} is gone")
    if manifest.get("train_options", options) != options:
        return WarmStart(None, "the recipe or the training options have changed")
    try:
        differences = FeatureSpec.load(checkpoint / SPEC_FILE).differences(spec, "live version", "dataset")
    except (FeatureSpecError, OSError) as error:
        return WarmStart(None, f"version {manifest.get('version')}: its checkpoint is damaged: {error}")
    if differences:
        return WarmStart(None, "; ".join(differences))
    return WarmStart(checkpoint, f"goes on from version {manifest.get('version')}, epoch {epoch_of(checkpoint)}")


def _position(checkpoint: Path) -> tuple[int, bool]:
    """(complete epochs, whether steps of the next one are done): epoch-0004-step-000120 is within epoch 4."""
    name, _, steps = checkpoint.name.partition("-step-")
    epoch = int(name.removeprefix("epoch-"))
    return (epoch - 1, True) if steps else (epoch, False)


def epoch_of(checkpoint: Path) -> int:
    match = EPOCH.fullmatch(checkpoint.name)
    if match is None:
        raise ValueError(f"not the folder of a whole epoch: {checkpoint}")
    return int(match[1])
