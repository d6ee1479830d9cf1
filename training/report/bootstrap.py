"""How sure a ROC AUC is, and a difference of two on the same rows: the bootstrap, exact AUC in each resample.

Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 6 and 13. Rows of one user are not
independent, so whole users are drawn where users are known (the cluster bootstrap), rows otherwise: also those of the
unknown user, id 0, who is not one user.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from training.metrics import UNKNOWN_USER

DEFAULT_RESAMPLES = 1000
CONFIDENCE = 0.95
# weights held at once: large enough that numpy's loops dominate, small enough for a CPU's cache
WEIGHTS_AT_ONCE = 2**19


@dataclass(frozen=True)
class PairedDifference:
    """difference: AUC of the second scores less that of the first; [low, high]: its percentile interval."""

    difference: float
    standard_error: float
    low: float
    high: float
    resamples: int

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def auc_standard_error(
    label: np.ndarray,
    score: np.ndarray,
    user: np.ndarray | None = None,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int | np.random.Generator = 0,
) -> float:
    """The standard deviation of the AUC over resamples of users, or of rows if user is None.

    label: [N] of 0 and 1. score: [N], logits or probabilities. user: [N]. The same seed gives the same figure.
    NaN if one class is missing. Raises ValueError for arrays that do not fit or fewer than two resamples.
    """
    groups, count = _groups(label, (score,), user, resamples)
    pairs = _Pairs(label, score, groups)
    samples = [pairs.auc(weights) for weights in _weights(count, len(groups), resamples, seed)]
    return _deviation(np.concatenate(samples))


def paired_difference(
    label: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    user: np.ndarray | None = None,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int | np.random.Generator = 0,
) -> PairedDifference:
    """AUC(second) − AUC(first) on the same rows, with a 95 % percentile interval over resamples of users or rows.

    Both models see the same resample, so that what makes a test row easy for both cancels out. label, first,
    second, user: [N], row i of each belongs together. Errors as in `auc_standard_error`; NaN if one class is missing.
    """
    groups, count = _groups(label, (first, second), user, resamples)
    before, after = (_Pairs(label, score, groups) for score in (first, second))
    once = np.ones((1, count))
    difference = float((after.auc(once) - before.auc(once))[0])
    samples = np.concatenate(
        [after.auc(weights) - before.auc(weights) for weights in _weights(count, len(groups), resamples, seed)]
    )
    samples = samples[np.isfinite(samples)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(samples, [tail, 1 - tail]) if samples.size else (np.nan, np.nan)
    return PairedDifference(difference, _deviation(samples), float(low), float(high), resamples)


class _Pairs:
    """AUC of one score under any weights of the groups: sorts once, then each resample is a cumulative sum.

    A positive counts the negatives' weight below it and half of that of its ties.
    """

    def __init__(self, label: np.ndarray, score: np.ndarray, groups: np.ndarray) -> None:
        positive = np.asarray(label) > 0
        score = np.asarray(score)
        order = np.argsort(score, kind="stable")
        positives, negatives = order[positive[order]], order[~positive[order]]
        self._positive_groups, self._negative_groups = groups[positives], groups[negatives]
        self._below = np.searchsorted(score[negatives], score[positives], "left")
        self._up_to = np.searchsorted(score[negatives], score[positives], "right")

    def auc(self, weights: np.ndarray) -> np.ndarray:
        """weights: [resamples, groups]. Returns [resamples]; NaN where one class has no weight."""
        positive = weights.take(self._positive_groups, axis=1)
        negative = np.zeros((len(weights), len(self._negative_groups) + 1))
        np.cumsum(weights.take(self._negative_groups, axis=1), axis=1, out=negative[:, 1:])
        ordered = negative.take(self._below, axis=1) + negative.take(self._up_to, axis=1)
        with np.errstate(invalid="ignore"):
            auc: np.ndarray = np.einsum("rp,rp->r", positive, ordered) / (2 * positive.sum(axis=1) * negative[:, -1])
        return auc


def _groups(
    label: np.ndarray, scores: tuple[np.ndarray, ...], user: np.ndarray | None, resamples: int
) -> tuple[np.ndarray, int]:
    """Number of each row's group [N], and how many groups there are."""
    shapes = [np.shape(array) for array in (label, *scores, *(() if user is None else (user,)))]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1 or shapes[0] == (0,):
        raise ValueError(f"label, scores and user: expected arrays [N] of the same N > 0, got shapes {shapes}")
    if not all(np.isfinite(score).all() for score in scores):
        raise ValueError("scores: expected finite numbers, got NaN or infinity")
    if resamples < 2:
        raise ValueError(f"resamples: expected at least 2, got {resamples}")
    if user is None:
        return np.arange(len(label)), len(label)
    unknown = np.asarray(user) == UNKNOWN_USER
    users, known = np.unique(np.asarray(user)[~unknown], return_inverse=True)
    groups = np.empty(len(label), np.int64)
    groups[~unknown] = known.reshape(-1)
    groups[unknown] = len(users) + np.arange(unknown.sum())
    return groups, len(users) + int(unknown.sum())


def _weights(count: int, rows: int, resamples: int, seed: int | np.random.Generator) -> Iterator[np.ndarray]:
    """How often each of count groups is drawn, count draws with replacement: [≤ resamples, count] at a time."""
    rng = np.random.default_rng(seed)
    at_once = max(1, WEIGHTS_AT_ONCE // rows)
    for start in range(0, resamples, at_once):
        drawn = [
            np.bincount(rng.integers(0, count, count), minlength=count)
            for _ in range(start, min(start + at_once, resamples))
        ]
        yield np.asarray(drawn, np.float64)


def _deviation(samples: np.ndarray) -> float:
    """Without the resamples that drew one class only: they have no AUC."""
    samples = samples[np.isfinite(samples)]
    return float(samples.std(ddof=1)) if samples.size > 1 else float("nan")
