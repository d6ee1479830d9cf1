"""Metrics over all rows at once, in numpy: no buckets, no averages of batch averages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

LATENCY_PERCENTILES = (90, 95, 99)
UNKNOWN_USER = 0


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Exact area under the ROC curve: the share of (positive, negative) pairs in order, ties counting half.

    labels: [N] of 0 and 1. scores: [N]. Returns NaN if only one class is there, or a score is NaN.
    """
    is_positive, scores = np.asarray(labels) > 0, np.asarray(scores)
    positive, negative = np.sort(scores[is_positive]), np.sort(scores[~is_positive])
    pairs = positive.size * negative.size
    if pairs == 0 or np.isnan(positive[-1]) or np.isnan(negative[-1]):  # NaN sorts last
        return float("nan")
    below = int(np.searchsorted(negative, positive, side="left").sum())
    not_above = int(np.searchsorted(negative, positive, side="right").sum())
    return (below + not_above) / (2 * pairs)


def grouped_auc(labels: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> float:
    """GAUC: each user's own ROC AUC, averaged over the users with their numbers of rows as weights.

    GAUC = Σ_u n_u · AUC_u / Σ_u n_u (Zhou et al. 2018, "Deep Interest Network", section 6, Metrics; n_u: the
    user's impressions). It measures the order within a user, which is what ranking needs. Users
    whose rows are all of one class have no AUC and are left out of both sums. So are the rows of the unknown user,
    id 0: they are of many users, and the order among them is none within a user. Ties count half.

    labels: [N] of 0 and 1. scores: [N]. groups: [N] integers, the user of each row. Returns NaN if no known user has
    both classes, or a score is NaN.
    """
    scores = np.asarray(scores)
    if len(scores) == 0 or np.isnan(scores).any():
        return float("nan")
    known = np.asarray(groups) != UNKNOWN_USER
    if not known.any():
        return float("nan")
    positive, score, group = (np.asarray(labels) > 0)[known], scores[known], np.asarray(groups)[known]
    order = np.lexsort((score, group))
    positive, score, group = positive[order], score[order], group[order]
    starts_group = np.r_[True, group[1:] != group[:-1]]
    starts_tie = starts_group | np.r_[True, score[1:] != score[:-1]]
    first = np.flatnonzero(starts_group)  # [U]
    rows = np.diff(np.r_[first, len(score)])  # [U]
    tie_first = np.flatnonzero(starts_tie)
    tie_rows = np.diff(np.r_[tie_first, len(score)])
    midrank: np.ndarray = np.repeat(tie_first + (tie_rows + 1) / 2.0, tie_rows) - np.repeat(
        first, rows
    )  # from 1 in each group
    positives = np.add.reduceat(positive.astype(np.int64), first)
    rank_sum = np.add.reduceat(np.where(positive, midrank, 0.0), first)
    pairs = positives * (rows - positives)
    has_both = pairs > 0
    if not has_both.any():
        return float("nan")
    auc = (rank_sum - positives * (positives + 1) / 2.0)[has_both] / pairs[has_both]
    return float(np.average(auc, weights=rows[has_both]))


def log_loss(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean binary cross-entropy of logits [N] against labels [N], in float64; NaN for no rows."""
    if len(labels) == 0:
        return float("nan")
    logits = np.asarray(logits, np.float64)
    with np.errstate(invalid="ignore"):  # infinite logits give NaN, which is the answer
        return float(np.mean(np.logaddexp(0.0, logits) - np.asarray(labels, np.float64) * logits))


class RunningAuc:
    """An estimate of the ROC AUC of a pass that goes on, for the progress bar: two histograms of the scores."""

    BINS = 2048

    def __init__(self) -> None:
        self._counts = np.zeros((2, self.BINS), np.int64)  # of the negatives, of the positives

    def add(self, labels: np.ndarray, logits: np.ndarray) -> None:
        """labels, logits: [n], finite."""
        probability = 1.0 / (1.0 + np.exp(-np.clip(logits, -30.0, 30.0)))
        bins = np.minimum((probability * self.BINS).astype(np.int64), self.BINS - 1)
        for kind, chosen in enumerate((labels <= 0, labels > 0)):
            self._counts[kind] += np.bincount(bins[chosen], minlength=self.BINS)

    def value(self) -> float:
        """NaN until both classes were seen."""
        negative, positive = self._counts
        pairs = int(negative.sum()) * int(positive.sum())
        if pairs == 0:
            return float("nan")
        below = np.cumsum(negative) - negative
        return float((positive * (below + negative / 2.0)).sum() / pairs)


def finite_or_none(value: float) -> float | None:
    """The value, or None where it is NaN or infinite: JSON has no such numbers."""
    return value if np.isfinite(value) else None


def latency_summary(seconds: Sequence[float]) -> Mapping[str, float]:
    """Mean and percentiles of step times, in milliseconds."""
    ms = np.asarray(seconds, np.float64) * 1e3
    if ms.size == 0:
        return {}
    summary = {"latency_mean": float(ms.mean())}
    summary.update({f"latency_p{p}": float(np.percentile(ms, p)) for p in LATENCY_PERCENTILES})
    return summary
