"""The held set of a version: rows and the logits that training gave them, kept with the version as held_set.npz."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from client.errors import ScoringError
from client.locate import open_rows
from client.transport import TensorDescription
from deploy.errors import DatasetRefused, VerificationFailed
from deploy.score_file import TestScores

FILE_NAME = "held_set.npz"
INPUT, LOGIT = "input/", "logit"


@dataclass(frozen=True)
class HeldSet:
    """inputs: {input name: [n, …]} as served. logit: [n] float32."""

    inputs: Mapping[str, np.ndarray]
    logit: np.ndarray

    def __len__(self) -> int:
        return len(self.logit)

    @classmethod
    def of_dataset(
        cls, dataset: Path, scores: TestScores, inputs: Mapping[str, TensorDescription], rows: int
    ) -> HeldSet:
        """The first test rows of a dataset, with what training scored them.

        Raises DatasetRefused if the rows cannot be read, or are not those that were scored.
        """
        try:
            source = open_rows(dataset, "test")
            columns, labels = next(iter(source.batches(inputs, rows, rows)))
        except (ScoringError, StopIteration) as error:
            raise DatasetRefused(f"{dataset}: its test rows cannot be read: {error or 'there are none'}") from error
        count = len(next(iter(columns.values())))
        if len(scores.logit) < count or (labels is not None and not np.array_equal(labels, scores.label[:count])):
            raise DatasetRefused(
                f"{dataset}: its first {count} test rows are not those that were scored after training; the labels "
                "differ. Was the dataset written again meanwhile? Write a dataset beside, and rename it into place."
            )
        return cls(columns, scores.logit[:count])

    def save(self, version_folder: Path) -> None:
        """Beside, then renamed."""
        staged = version_folder / f".{FILE_NAME}.{os.getpid()}.tmp"
        try:
            with staged.open("wb") as file:
                np.savez_compressed(file, **{LOGIT: self.logit}, **{INPUT + n: v for n, v in self.inputs.items()})
            staged.replace(version_folder / FILE_NAME)
        finally:
            staged.unlink(missing_ok=True)

    @classmethod
    def load(cls, version_folder: Path) -> HeldSet | None:
        """None for a version without one. Raises VerificationFailed if the file is damaged."""
        file = version_folder / FILE_NAME
        if not file.is_file():
            return None
        try:
            with np.load(file, allow_pickle=False) as arrays:
                inputs = {n.removeprefix(INPUT): arrays[n] for n in arrays.files if n.startswith(INPUT)}
                return cls(inputs, arrays[LOGIT])
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise VerificationFailed(f"{file}: damaged: {error}. Publish the version again.") from error

    def first(self, rows: int) -> HeldSet:
        return HeldSet({name: values[:rows] for name, values in self.inputs.items()}, self.logit[:rows])

    def compare(self, logit: np.ndarray, tolerance: float, what: str) -> float:
        """The largest difference, of the probabilities and of the logits as a share of the largest logit (at least 1).

        logit: [n], as served. Raises VerificationFailed, naming the worst row, if it is not within the tolerance.
        """
        scale = max(1.0, float(np.abs(self.logit).max(initial=0.0)))
        difference = np.maximum(
            np.abs(_sigmoid(logit) - _sigmoid(self.logit)), np.abs(logit.astype(np.float64) - self.logit) / scale
        )
        worst = int(np.argmax(np.where(np.isfinite(difference), difference, np.inf)))
        if not difference[worst] <= tolerance:
            raise VerificationFailed(
                f"{what}: {int((~(difference <= tolerance)).sum())} of {len(self)} held rows differ from training; "
                f"row {worst + 1}: logit got {logit[worst]:.7g}, expected {self.logit[worst]:.7g} within {tolerance:g}"
            )
        return float(difference[worst])


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logit.astype(np.float64))))
