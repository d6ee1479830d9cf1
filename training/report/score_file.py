"""A run's scores of the test rows, `test_scores.npz`: arrays label [N], logit [N], where known user [N] and epoch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from training.report.errors import ReportError

FILE_NAME = "test_scores.npz"


@dataclass(frozen=True)
class TestScores:
    """label: [N] of 0 and 1. logit: [N], finite. user: [N] ids, None if the model has no user feature.

    epoch: after which the rows were scored, None if the file does not say.
    """

    __test__ = False  # not a test class of pytest's

    label: np.ndarray
    logit: np.ndarray
    user: np.ndarray | None = None
    epoch: int | None = None

    def __len__(self) -> int:
        return len(self.label)


def read_scores(path: Path) -> TestScores:
    """Raises ReportError, naming what is wrong with the file."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            label, logit = arrays["label"], arrays["logit"]
            user = arrays.get("user")
            epoch = int(arrays["epoch"]) if "epoch" in arrays else None
    except (OSError, ValueError, TypeError, EOFError, KeyError, BadZipFile) as error:
        raise ReportError(f"{path.name} cannot be read as arrays label, logit and user: {error}") from error
    shapes = [array.shape for array in (label, logit, user) if array is not None]
    if len(set(shapes)) > 1 or label.ndim != 1 or not len(label):
        raise ReportError(f"{path.name}: expected arrays [N] of the same N > 0, got shapes {shapes}")
    if label.dtype.kind not in "biuf" or logit.dtype.kind not in "biuf":
        raise ReportError(f"{path.name}: expected numbers, got label {label.dtype} and logit {logit.dtype}")
    if not np.isin(label, (0, 1)).all():
        raise ReportError(f"{path.name}: label: expected 0 and 1 only")
    if not np.isfinite(logit).all():
        raise ReportError(f"{path.name}: logit: {int((~np.isfinite(logit)).sum())} of {len(logit)} are not finite")
    return TestScores(label, logit, user, epoch)


def on_the_rows_of(first: TestScores, other: TestScores) -> TestScores | None:
    """other, its rows in the order of first's; None if they are not the same rows.

    Several processes write their rows in another order than one does. Such files are brought together where a
    user has no more than one row of each label, as in a test set of one positive and its negative per user.
    """
    if len(first) != len(other) or (first.user is None) != (other.user is None):
        return None
    if np.array_equal(first.label, other.label) and (
        first.user is None or other.user is None or np.array_equal(first.user, other.user)
    ):
        return other
    if first.user is None or other.user is None:
        return None
    order, others = np.lexsort((first.label, first.user)), np.lexsort((other.label, other.user))
    user, label = first.user[order], first.label[order]
    if not (np.array_equal(user, other.user[others]) and np.array_equal(label, other.label[others])):
        return None
    if ((user[1:] == user[:-1]) & (label[1:] == label[:-1])).any():
        return None
    taken = np.empty_like(order)
    taken[order] = others
    return TestScores(other.label[taken], other.logit[taken], other.user[taken], other.epoch)
