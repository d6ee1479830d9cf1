"""Metrics over all rows at once, in numpy: no buckets, no averages of batch averages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

LATENCY_PERCENTILES = (90, 95, 99)


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Exact area under the ROC curve: the share of (positive, negative) pairs in order, ties counting half.

    labels: [N] of 0 and 1. scores: [N]. Returns NaN if only one class is there.
    """
    positive = np.asarray(labels) > 0
    positives = int(positive.sum())
    negatives = positive.size - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    _, inverse, counts = np.unique(np.asarray(scores), return_inverse=True, return_counts=True)
    midranks = np.cumsum(counts) - (counts - 1) / 2.0
    rank_sum = midranks[inverse.reshape(-1)][positive].sum()
    return float((rank_sum - positives * (positives + 1) / 2.0) / (positives * negatives))


def log_loss(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean binary cross-entropy of logits [N] against labels [N], in float64; NaN for no rows."""
    if len(labels) == 0:
        return float("nan")
    logits = np.asarray(logits, np.float64)
    return float(np.mean(np.logaddexp(0.0, logits) - np.asarray(labels, np.float64) * logits))


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
