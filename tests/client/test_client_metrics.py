from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.metrics import log_loss_of_logits, log_loss_of_probabilities, roc_auc


def pairs_in_order(labels: list[int], scores: list[float]) -> float:
    positive = [s for s, label in zip(scores, labels, strict=True) if label]
    negative = [s for s, label in zip(scores, labels, strict=True) if not label]
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    return sum(pairs) / len(pairs) if pairs else math.nan


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), max_size=40))
def test_auc_counts_pairs_with_ties_as_half(rows: list[tuple[int, int]]) -> None:
    labels, scores = [r[0] for r in rows], [r[1] / 2 for r in rows]
    expected = pairs_in_order(labels, scores)
    got = roc_auc(np.array(labels), np.array(scores, np.float32))
    assert got == pytest.approx(expected, nan_ok=True)


def test_auc_is_the_one_of_training() -> None:
    from training.metrics import roc_auc as of_training

    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 5000), rng.normal(size=5000).round(2).astype(np.float32)
    assert roc_auc(labels, scores) == pytest.approx(of_training(labels, scores), abs=1e-12)


def test_log_loss_by_hand_and_at_the_ends() -> None:
    labels, logits = np.array([1.0, 0.0]), np.array([math.log(3), 0.0], np.float32)
    expected = (-math.log(0.75) - math.log(0.5)) / 2
    assert log_loss_of_logits(labels, logits) == pytest.approx(expected)
    assert log_loss_of_probabilities(labels, np.array([0.75, 0.5], np.float32)) == pytest.approx(expected)
    assert log_loss_of_logits(np.array([0.0]), np.array([200.0])) == pytest.approx(200.0)
    assert log_loss_of_probabilities(np.array([0.0]), np.array([1.0], np.float32)) == pytest.approx(
        -math.log(1e-7), 1e-3
    )
    assert math.isnan(log_loss_of_logits(np.empty(0), np.empty(0)))
    assert math.isnan(log_loss_of_probabilities(np.empty(0), np.empty(0)))
