"""The masked softmax's kernel against the plain layer: weights and gradient."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.gradients import assert_near, assert_same_bits, output_and_gradients
from training.layers.history import masked_softmax


def both(shape: tuple[int, ...], real: float = 0.6, scale: float = 1.0):
    rng = np.random.default_rng(sum(shape))
    scores = tf.constant(scale * rng.standard_normal(shape), tf.float32)
    mask = tf.constant(rng.random((shape[0], shape[-1])) < real)
    return [
        output_and_gradients(lambda scores, n=native: masked_softmax(scores, mask, n), {"scores": scores})
        for native in (True, False)
    ]


@pytest.mark.parametrize("shape", [(5, 90), (5, 3, 90), (1, 1), (0, 4), (0, 2, 4), (65, 2, 16), (4, 1, 15)])
def test_is_the_plain_layer(shape: tuple[int, ...]) -> None:
    assert_near(*both(shape), relative=1e-6)


@pytest.mark.parametrize("real", [0.0, 1.0])
def test_all_padding_and_none(real: float) -> None:
    native, plain = both((7, 2, 33), real)
    assert_near(native, plain, relative=1e-6)
    assert native["output"].any() == bool(real)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(rows=st.integers(0, 70), queries=st.integers(1, 4), steps=st.integers(1, 100), scale=st.floats(0.0, 5.0))
def test_any_shape(rows: int, queries: int, steps: int, scale: float) -> None:
    assert_near(*both((rows, queries, steps), scale=scale), relative=5e-6)


def test_the_same_input_gives_the_same_bits() -> None:
    assert_same_bits(both((300, 2, 90))[0], both((300, 2, 90))[0])


def test_scores_that_overflowed_and_that_are_not_numbers() -> None:
    mask = tf.constant([[True, True, False]] * 3)
    scores = tf.constant([[-np.inf, 0.0, np.inf], [-np.inf, -np.inf, 0.0], [np.nan, 0.0, 0.0]], tf.float32)
    native, plain = masked_softmax(scores, mask, True).numpy(), masked_softmax(scores, mask).numpy()
    np.testing.assert_allclose(native[:2], [[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]], atol=1e-30)
    np.testing.assert_allclose(native[:2], plain[:2], atol=1e-30)
    assert np.isnan(native[2, :2]).all() and np.isnan(plain[2]).any()


def gradient_of_row(scores: list[float], upstream: list[float]) -> np.ndarray:
    """J·g of a softmax, from its Jacobian diag(w) − w·wᵀ, in float64."""
    exponentials = np.exp(np.array(scores, np.float64))
    weights = exponentials / exponentials.sum()
    return (np.diag(weights) - np.outer(weights, weights)) @ np.array(upstream, np.float64)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("hidden", [-np.inf, np.inf, np.nan])
def test_masked_scores_that_are_not_finite_have_no_gradient_and_change_none(hidden: float, native: bool) -> None:
    scores = tf.constant([[0.3, hidden, -1.2, 0.9], [hidden, hidden, 2.0, 0.5]], tf.float32)
    mask = tf.constant([[True, False, True, True], [False, False, True, True]])
    upstream = np.array([[1.0, -3.0, 0.5, 2.0], [4.0, 1.0, -1.0, 0.7]], np.float32)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        total = tf.reduce_sum(masked_softmax(scores, mask, native) * upstream)
    gradient = tape.gradient(total, scores).numpy()
    np.testing.assert_array_equal(gradient[~mask.numpy()], 0.0)
    np.testing.assert_allclose(gradient[0, [0, 2, 3]], gradient_of_row([0.3, -1.2, 0.9], [1.0, 0.5, 2.0]), atol=1e-6)
    np.testing.assert_allclose(gradient[1, 2:], gradient_of_row([2.0, 0.5], [-1.0, 0.7]), atol=1e-6)


@pytest.mark.parametrize("native", [True, False])
def test_a_real_score_of_minus_infinity_has_no_gradient_and_nan_spoils_its_own_row_only(native: bool) -> None:
    scores = tf.constant([[0.3, -np.inf, -1.2], [0.1, np.nan, 0.2], [0.3, -0.4, -1.2]], tf.float32)
    upstream = np.array([[1.0, 7.0, 0.5]] * 3, np.float32)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        total = tf.reduce_sum(masked_softmax(scores, tf.ones([3, 3], tf.bool), native) * upstream)
    gradient = tape.gradient(total, scores).numpy()
    assert gradient[0, 1] == 0.0
    np.testing.assert_allclose(gradient[0, [0, 2]], gradient_of_row([0.3, -1.2], [1.0, 0.5]), atol=1e-6)
    assert np.isnan(gradient[1]).any()
    np.testing.assert_allclose(gradient[2], gradient_of_row([0.3, -0.4, -1.2], [1.0, 7.0, 0.5]), atol=1e-6)


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="masked softmax"):
        masked_softmax(tf.zeros([2, 1, 4]), tf.ones([2, 5], tf.bool), True)
