"""Which steps SIM's search selects: soft by score, hard by category; with the compiled kernel and without."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from training.layers.selection import same_category_mask, threshold_mask, top_k_mask
from training.native import kernels_available

NATIVE = [False, pytest.param(True, marks=pytest.mark.skipif(not kernels_available(), reason="kernels not compiled"))]


def selected(scores: np.ndarray, mask: np.ndarray, k: int, native: bool) -> list[list[bool]]:
    return top_k_mask(tf.constant(scores, tf.float32), tf.constant(mask), k, native).numpy().tolist()


@pytest.mark.parametrize("native", NATIVE)
def test_takes_the_best_real_steps(native: bool) -> None:
    scores, mask = np.array([[9.0, 1.0, 3.0, 2.0]]), np.array([[False, True, True, True]])
    assert selected(scores, mask, 2, native) == [[False, False, True, True]]


@pytest.mark.parametrize("native", NATIVE)
def test_takes_all_where_there_are_fewer_than_k(native: bool) -> None:
    mask = np.array([[False, False, True, False], [False] * 4, [True] * 4])
    assert selected(np.zeros((3, 4)), mask, 3, native) == [mask[0].tolist(), mask[1].tolist(), [True] * 3 + [False]]


@pytest.mark.parametrize("native", NATIVE)
def test_of_equal_scores_the_earlier_step_is_taken(native: bool) -> None:
    scores, mask = np.array([[1.0, 2.0, 1.0, 1.0, 2.0]]), np.array([[True, True, True, True, True]])
    assert selected(scores, mask, 3, native) == [[True, True, False, False, True]]


@pytest.mark.parametrize("native", NATIVE)
@pytest.mark.parametrize("k", [3, 4, 50])
def test_defect_5_history_shorter_than_k(k: int, native: bool) -> None:
    mask = np.array([[True, False, True], [False, False, False]])
    assert selected(np.ones((2, 3)), mask, k, native) == mask.tolist()


@pytest.mark.parametrize("native", NATIVE)
def test_defect_8_selection_mask_keeps_items_whose_score_underflows(native: bool) -> None:
    """The reference's mask is "score > 0": zeros, tiny and negative scores of real items would be gone."""
    scores, mask = np.array([[0.0, -1e-30, 0.0, -70000.0]]), np.array([[True, True, False, True]])
    assert selected(scores, mask, 3, native) == [[True, True, False, True]]


@pytest.mark.parametrize("native", NATIVE)
def test_a_score_that_overflowed_is_still_a_real_step(native: bool) -> None:
    scores, mask = np.array([[-np.inf, -np.inf, 1.0]]), np.array([[False, True, True]])
    assert selected(scores, mask, 2, native) == [[False, True, True]]


@pytest.mark.parametrize("native", NATIVE)
def test_scores_that_are_not_numbers_neither_crash_nor_select_more_than_k(native: bool) -> None:
    """Until the loop notices a NaN, some steps pass."""
    scores = np.where(np.random.default_rng(0).random((50, 90)) < 0.5, np.nan, 1.0)
    chosen = np.array(selected(scores, np.ones((50, 90), bool), 50, native))
    assert (chosen.sum(axis=1) == 50).all()


@pytest.mark.parametrize("native", NATIVE)
def test_any_shape_against_a_sort(native: bool) -> None:
    rng = np.random.default_rng(0)
    for rows, steps, k in ((0, 4, 2), (1, 1, 1), (7, 9, 1), (65, 90, 50), (130, 17, 16)):
        scores, mask = rng.integers(-3, 4, (rows, steps)).astype(np.float64), rng.random((rows, steps)) < 0.7
        expected = np.zeros((rows, steps), bool)
        for row in range(rows):
            ranked = sorted(np.flatnonzero(mask[row]), key=lambda step, row=row: (-scores[row, step], step))
            expected[row, ranked[:k]] = True
        assert selected(scores, mask, k, native) == expected.tolist()


def test_hard_search_takes_the_newest_of_the_targets_category() -> None:
    target = tf.constant([7, 7, 7, 0])
    history = tf.constant([[7, 3, 7, 7, 7], [3, 3, 3, 3, 3], [7, 7, 0, 0, 0], [0, 0, 1, 1, 1]])
    mask = tf.constant([[True] * 5, [True] * 5, [True] * 5, [False, False, True, True, True]])
    assert same_category_mask(target, history, mask, 3).numpy().tolist() == [
        [False, False, True, True, True],
        [False] * 5,
        [True, True, False, False, False],
        [False] * 5,
    ]


def test_hard_search_with_fewer_than_k_takes_all_and_leaves_padding_out() -> None:
    mask = tf.constant([[False, True, True]])
    assert (
        same_category_mask(tf.constant([2]), tf.constant([[2, 2, 2]]), mask, 50).numpy().tolist()
        == mask.numpy().tolist()
    )


@pytest.mark.parametrize("steps", [1, 4, 5, 9])
def test_the_threshold_selects_what_top_k_does(steps: int) -> None:
    """Few different scores, so that ties stand at the threshold; padding, and scores that overflowed."""
    rng = np.random.default_rng(steps)
    scores = rng.integers(-2, 3, (200, steps)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.05] = -np.inf
    scores[rng.random(scores.shape) < 0.05] = np.inf
    mask = tf.constant(np.arange(steps) >= rng.integers(0, steps + 1, (200, 1)))
    for k in (1, 4, 5):
        expected = top_k_mask(tf.constant(scores), mask, k)
        np.testing.assert_array_equal(threshold_mask(tf.constant(scores), mask, k), expected)


def test_no_steps_have_no_threshold() -> None:
    assert threshold_mask(tf.zeros([3, 0]), tf.zeros([3, 0], tf.bool), 2).shape == (3, 0)
