"""The bootstrap of the report: against slow, independent versions and against theory."""

from __future__ import annotations

import time

import numpy as np
import pytest

from training.metrics import roc_auc
from training.report.bootstrap import auc_standard_error, paired_difference


def scored(rows: int, seed: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, rows)
    score = label + 1.5 * rng.normal(size=rows)
    return label, np.round(score) if ties else score


def slow_samples(label: np.ndarray, score: np.ndarray, user: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """The definition, row by row: draw users, repeat their rows, take the AUC of those."""
    rng = np.random.default_rng(seed)
    users = np.unique(user)
    samples = []
    for _ in range(resamples):
        drawn = users[rng.integers(0, len(users), len(users))]
        rows = np.concatenate([np.flatnonzero(user == u) for u in drawn])
        samples.append(roc_auc(label[rows], score[rows]))
    return np.array(samples)


@pytest.mark.parametrize("ties", [False, True])
def test_standard_error_equals_the_definition_on_the_same_draws(ties: bool) -> None:
    label, score = scored(120, 1, ties)
    user = np.random.default_rng(2).integers(100, 130, 120)
    expected = slow_samples(label, score, user, 60, seed=5).std(ddof=1)
    assert auc_standard_error(label, score, user, 60, seed=5) == pytest.approx(expected, rel=1e-12)
    rows = np.arange(120)
    expected = slow_samples(label, score, rows, 60, seed=5).std(ddof=1)
    assert auc_standard_error(label, score, None, 60, seed=5) == pytest.approx(expected, rel=1e-12)


def test_difference_and_interval_equal_the_definition_on_the_same_draws() -> None:
    label, first = scored(90, 3)
    second = first + np.random.default_rng(4).normal(size=90)
    user = np.repeat(np.arange(1, 31), 3)
    samples = slow_samples(label, second, user, 80, 6) - slow_samples(label, first, user, 80, 6)
    result = paired_difference(label, first, second, user, 80, seed=6)
    assert result.difference == pytest.approx(roc_auc(label, second) - roc_auc(label, first), abs=1e-12)
    assert [result.low, result.high] == pytest.approx(np.quantile(samples, [0.025, 0.975]))
    assert result.standard_error == pytest.approx(samples.std(ddof=1))
    assert result.resamples == 80


def test_rows_give_the_standard_error_of_hanley_and_mcneil() -> None:
    """Continuous scores: their formula from the AUC alone is within a few per cent (Radiology 143, 1982, eq. 1-2)."""
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 2000)
    score = rng.exponential(np.where(label == 1, 3.0, 1.0))  # the formula is exact for exponential scores
    auc = roc_auc(label, score)
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + 1999 * (q1 - auc**2) + 1999 * (q2 - auc**2)) / 2000**2
    assert auc_standard_error(label, score, resamples=600) == pytest.approx(np.sqrt(variance), rel=0.1)


def test_users_whose_rows_go_together_widen_the_error() -> None:
    """Each row copied nine times is no more knowledge: drawing users sees that, drawing rows does not."""
    label, score = scored(300, 7)
    alone = auc_standard_error(label, score, resamples=300)
    label, score, user = (np.repeat(a, 9) for a in (label, score, np.arange(1, 301)))
    assert auc_standard_error(label, score, user, 300) == pytest.approx(alone, rel=0.15)
    assert auc_standard_error(label, score, None, 300) == pytest.approx(alone / 3, rel=0.2)


def test_rows_of_the_unknown_user_are_drawn_one_by_one() -> None:
    label, score = scored(120, 9)
    user = np.repeat(np.arange(30), 4)
    user[40:60] = 0
    alone = user.copy()
    alone[user == 0] = 1000 + np.arange((user == 0).sum())  # a user each, after the known ones
    expected = slow_samples(label, score, alone, 60, seed=5).std(ddof=1)
    assert auc_standard_error(label, score, user, 60, seed=5) == pytest.approx(expected, rel=1e-12)


def test_pairing_tells_apart_what_separate_errors_do_not() -> None:
    rng = np.random.default_rng(8)
    label = rng.integers(0, 2, 2000)
    first = label + 2 * rng.normal(size=2000)
    second = first + 0.2 * label
    result = paired_difference(label, first, second, resamples=300)
    separate = np.hypot(
        auc_standard_error(label, first, resamples=300), auc_standard_error(label, second, resamples=300)
    )
    assert result.excludes_zero
    assert 0 < result.low < result.difference < result.high < 1.96 * separate


def test_equal_scores_differ_by_nothing_and_scale_does_not_matter() -> None:
    label, score = scored(100, 9)
    result = paired_difference(label, score, 3 * score - 1, resamples=50)
    assert (result.difference, result.low, result.high, result.standard_error) == (0, 0, 0, 0)
    assert not result.excludes_zero


def test_the_seed_decides() -> None:
    label, score = scored(200, 10)
    assert auc_standard_error(label, score, seed=3) == auc_standard_error(label, score, seed=3)
    assert auc_standard_error(label, score, seed=3) != auc_standard_error(label, score, seed=4)


def test_one_class_has_no_error_and_resamples_without_a_class_do_not_count() -> None:
    assert np.isnan(auc_standard_error(np.ones(5), np.arange(5.0), resamples=10))
    nothing = paired_difference(np.zeros(5), np.arange(5.0), np.arange(5.0), resamples=10)
    assert np.isnan([nothing.difference, nothing.low, nothing.high, nothing.standard_error]).all()
    assert not nothing.excludes_zero
    assert np.isfinite(auc_standard_error(np.array([1, 0, 0]), np.array([2.0, 1.0, 3.0]), resamples=200))


@pytest.mark.parametrize(
    ("label", "score", "user", "resamples", "message"),
    [
        ([1, 0], [1.0], None, 9, r"same N > 0, got shapes \[\(2,\), \(1,\)\]"),
        ([1, 0], [1.0, 2.0], [7], 9, "same N > 0"),
        ([], [], None, 9, "same N > 0"),
        ([[1, 0]], [[1.0, 2.0]], None, 9, "same N > 0"),
        ([1, 0], [1.0, np.nan], None, 9, "finite"),
        ([1, 0], [1.0, 2.0], None, 1, "at least 2, got 1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    label: list, score: list, user: list | None, resamples: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        auc_standard_error(
            np.array(label), np.array(score), None if user is None else np.array(user), resamples=resamples
        )


def test_two_hundred_resamples_of_a_real_test_set_take_seconds() -> None:
    rng = np.random.default_rng(11)
    label, user = np.tile([1, 0], 35578), np.repeat(np.arange(35578), 2)
    first = label + rng.normal(size=71156)
    start = time.monotonic()
    paired_difference(label, first, first + rng.normal(size=71156), user, resamples=200)
    assert time.monotonic() - start < 10  # half a second alone; the machine may be busy
