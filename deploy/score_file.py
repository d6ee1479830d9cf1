"""test_scores.npz, which a training run writes: labels and logits of the test rows, and the metrics they give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from client.metrics import log_loss_of_logits, roc_auc
from deploy.errors import DatasetRefused

FILE_NAME = "test_scores.npz"
METRICS = ("auc", "loss")


@dataclass(frozen=True)
class TestScores:
    """label, logit: [N] float32, in the order of the test files. epoch: of the checkpoint that was scored."""

    __test__ = False  # not a test class of pytest's

    label: np.ndarray
    logit: np.ndarray
    epoch: int

    @classmethod
    def load(cls, file: Path) -> TestScores:
        """Raises DatasetRefused if the file cannot be read."""
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return cls(arrays["label"], arrays["logit"], int(arrays["epoch"]))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise DatasetRefused(f"{file}: not readable as the scores of a training run: {error}") from error

    def metric(self, name: str) -> float:
        """auc: area under the ROC curve. loss: mean binary cross-entropy. NaN where it is not defined."""
        return roc_auc(self.label, self.logit) if name == "auc" else log_loss_of_logits(self.label, self.logit)
