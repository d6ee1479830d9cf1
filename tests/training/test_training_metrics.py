"""Metrics against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics import RunningAuc, grouped_auc, latency_summary, log_loss, roc_auc


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


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.integers(0, 4)), min_size=1, max_size=40))
def test_gauc_is_the_mean_of_the_users_aucs_weighted_by_their_rows(rows: list[tuple[int, bool, int]]) -> None:
    users, labels = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    scores = np.array([r[2] for r in rows], np.float32)
    total = weight = 0.0
    for user in set(users.tolist()):
        mine = users == user
        auc = roc_auc(labels[mine], scores[mine])
        if not np.isnan(auc):
            total, weight = total + mine.sum() * auc, weight + mine.sum()
    if weight:
        assert grouped_auc(labels, scores, users) == pytest.approx(total / weight)
    else:
        assert np.isnan(grouped_auc(labels, scores, users))


def test_gauc_by_hand() -> None:
    """User 1: one of two pairs in order, 3 rows. User 2: a tie, 2 rows. User 3 has no negative and is left out."""
    users, labels = np.array([1, 2, 1, 3, 2, 1]), np.array([1, 0, 0, 1, 1, 0])
    scores = np.array([0.5, 0.2, 0.1, 0.9, 0.2, 0.8])
    assert grouped_auc(labels, scores, users) == pytest.approx((3 * 0.5 + 2 * 0.5) / 5)
    scores[0] = 2.0
    assert grouped_auc(labels, scores, users) == pytest.approx((3 * 1.0 + 2 * 0.5) / 5)


def test_gauc_leaves_out_the_unknown_user() -> None:
    """Rows of id 0 are of many users: the known user's one pair is in order, the four unknown rows' pairs are not."""
    users, labels = np.array([0, 7, 0, 0, 7, 0]), np.array([1, 1, 0, 1, 0, 0])
    scores = np.array([0.1, 0.6, 0.9, 0.2, 0.5, 0.8])
    assert grouped_auc(labels, scores, users) == 1.0
    assert np.isnan(grouped_auc(labels, scores, np.zeros(6, np.int64)))


def test_scores_that_are_not_numbers_give_no_auc() -> None:
    labels, scores = np.array([0, 1, 1]), np.array([0.1, np.nan, 0.2])
    assert np.isnan(roc_auc(labels, scores))
    assert np.isnan(grouped_auc(labels, scores, np.array([1, 1, 1])))
    assert roc_auc(labels, np.array([0.1, np.inf, 0.2])) == 1.0


def test_the_running_auc_is_close_to_the_exact_one() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 5000).astype(np.float32)
    logits = (labels + rng.normal(0, 1.5, 5000)).astype(np.float32)
    running = RunningAuc()
    assert np.isnan(running.value())
    for part in np.split(np.arange(5000), 10):
        running.add(labels[part], logits[part])
    assert running.value() == pytest.approx(roc_auc(labels, logits), abs=1e-3)
