"""Metrics over all scored rows, exact, in numpy."""

from __future__ import annotations

import numpy as np


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve: the share of (positive, negative) pairs that are in order, ties counting half.

    labels: [N], 0 or 1. scores: [N]. NaN if there is only one class.
    The sum of the positives' ranks counts the pairs (Mann-Whitney); tied scores share the middle of their ranks.
    """
    positive = labels > 0
    positives = int(positive.sum())
    negatives = len(labels) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    midranks = np.cumsum(sizes) - (sizes - 1) / 2.0  # ranks from 1
    in_order = midranks[group][positive].sum() - positives * (positives + 1) / 2.0
    return float(in_order / positives / negatives)


def log_loss_of_logits(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean binary cross-entropy in nats. labels: [N], 0 or 1. logits: [N]. NaN for no rows."""
    if len(labels) == 0:
        return float("nan")
    logits = logits.astype(np.float64)
    return float(np.mean(np.logaddexp(0.0, logits) - labels * logits))


def log_loss_of_probabilities(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The same from probabilities [N], which float32 rounds to 0 and 1 at the ends: kept 1e-7 away from both."""
    if len(labels) == 0:
        return float("nan")
    p = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(labels * np.log(p) + (1 - labels) * np.log1p(-p)))
