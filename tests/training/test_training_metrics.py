"""Metrics against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics import latency_summary, log_loss, roc_auc


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40))
def test_auc_is_the_share_of_ordered_pairs(rows: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([r[0] for r in rows]), np.array([r[1] for r in rows], np.float32)
    pairs = scores[labels][:, None] - scores[~labels][None, :]
    if pairs.size == 0:
        assert np.isnan(roc_auc(labels, scores))
    else:
        assert roc_auc(labels, scores) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_log_loss_by_hand_and_at_extreme_logits() -> None:
    assert log_loss(np.array([1, 0]), np.array([np.log(3.0), 0.0])) == pytest.approx((-np.log(0.75) - np.log(0.5)) / 2)
    assert log_loss(np.array([0]), np.array([1000.0], np.float32)) == pytest.approx(1000.0)
    assert np.isnan(log_loss(np.array([]), np.array([])))


def test_latencies_are_in_milliseconds() -> None:
    summary = latency_summary([0.001 * i for i in range(1, 101)])
    assert summary["latency_mean"] == pytest.approx(50.5)
    assert summary["latency_p99"] == pytest.approx(99.01)
    assert latency_summary([]) == {}
