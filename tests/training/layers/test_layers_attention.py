"""Masked softmax and means, histories, and every kind of target attention."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.training import numpy_layers
from training.layers.history import GatheredHistory, masked_softmax, mean_weights, pool_each
from training.layers.runs import Candidates
from training.layers.target_attention import TargetAttention

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def test_masked_softmax_by_hand_and_all_padding() -> None:
    scores = tf.constant([[0.0, np.log(3.0), 50.0], [1.0, 2.0, 3.0]])
    mask = tf.constant([[True, True, False], [False, False, False]])
    np.testing.assert_allclose(masked_softmax(scores, mask), [[0.25, 0.75, 0.0], [0.0, 0.0, 0.0]], atol=1e-6)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_masked_softmax_survives_low_precision(dtype: tf.DType) -> None:
    weights = masked_softmax(tf.constant([[-60000.0, 0.0, 60000.0]], dtype), tf.constant([[True, True, False]]))
    assert weights.dtype == tf.float32
    np.testing.assert_allclose(weights, [[0.0, 1.0, 0.0]], atol=1e-6)


def test_masked_softmax_has_no_nan_gradient_where_all_is_padding() -> None:
    scores = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    mask = tf.constant([[False, False], [True, False]])
    with tf.GradientTape() as tape:
        tape.watch(scores)
        total = tf.reduce_sum(masked_softmax(scores, mask) * [[1.0, 2.0]])
    np.testing.assert_array_equal(tape.gradient(total, scores), np.zeros((2, 2)))


def test_mean_weights_make_a_mean_over_real_steps() -> None:
    mask = tf.constant([[True, True, False], [False, False, False]])
    np.testing.assert_allclose(mean_weights(mask), [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]])


def test_history_scores_and_pool_by_hand() -> None:
    history = GatheredHistory(tf.constant([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]]))
    assert history.width == 2
    np.testing.assert_allclose(history.scores(tf.constant([[[2.0, 5.0], [1.0, 0.0]]])), [[[2, 5, 63], [1, 0, 9]]])
    np.testing.assert_allclose(history.pool(tf.constant([[[0.25, 0.75, 0.0]]])), [[[0.25, 0.75]]])


@pytest.mark.parametrize("candidates", [None, 3])
def test_each_of_several_weights_pools_by_itself(candidates: int | None) -> None:
    rows = 2 * (candidates or 1)
    history = GatheredHistory(tf.constant(normal(2, 3, 4)), None if candidates is None else Candidates(2, candidates))
    one, two = tf.constant(RNG.random((rows, 1, 3)), tf.float32), tf.constant(RNG.random((rows, 2, 3)), tf.float32)
    pooled = pool_each(history, [one, two])
    assert len(pooled) == 2
    for found, weights in zip(pooled, (one, two), strict=True):
        np.testing.assert_allclose(found, history.pool(weights), atol=1e-6)


def attention_of(kind: str, dim: int, history_dim: int, steps: int, position_bias: bool) -> TargetAttention:
    attention = TargetAttention(kind, dim, history_dim, steps, 3, (6, 5), position_bias, False, "attention")
    for variable in attention.trainable_variables:
        variable.assign(normal(*variable.shape))
    return attention


def attend(attention: TargetAttention, target: np.ndarray, items: np.ndarray, mask: np.ndarray) -> np.ndarray:
    history, real = GatheredHistory(tf.constant(items)), tf.constant(mask)
    scores = attention.scores(tf.constant(target), history, real)
    assert scores.dtype == tf.float32
    return attention.join(history.pool(attention.weights(scores, real))).numpy()


@pytest.mark.parametrize("position_bias", [False, True])
@pytest.mark.parametrize("kind", ["dot", "bilinear", "activation_unit", "multi_head"])
@pytest.mark.parametrize("rows", [1, 5])
def test_every_kind_of_attention_against_numpy(kind: str, position_bias: bool, rows: int) -> None:
    attention = attention_of(kind, 4, 4, 6, position_bias)
    target, items, mask = normal(rows, 4), normal(rows, 6, 4), RNG.random((rows, 6)) < 0.6
    mask[0] = [False, True, False, True, True, True]
    expected = [numpy_layers.target_attention(attention, *row) for row in zip(target, items, mask, strict=True)]
    np.testing.assert_allclose(attend(attention, target, items, mask), expected, atol=2e-5)


@pytest.mark.parametrize("kind", ["bilinear", "multi_head"])
def test_a_history_may_be_wider_than_the_target(kind: str) -> None:
    """As with time-interval embeddings beside the items."""
    attention = attention_of(kind, 4, 7, 6, True)
    target, items, mask = normal(3, 4), normal(3, 6, 7), np.ones((3, 6), bool)
    expected = [numpy_layers.target_attention(attention, *row) for row in zip(target, items, mask, strict=True)]
    np.testing.assert_allclose(attend(attention, target, items, mask), expected, atol=2e-5)


@pytest.mark.parametrize("kind", ["dot", "bilinear", "activation_unit"])
def test_all_padding_attends_to_nothing(kind: str) -> None:
    attention = attention_of(kind, 4, 4, 6, True)
    assert not attend(attention, normal(2, 4), normal(2, 6, 4), np.zeros((2, 6), bool)).any()


def test_dot_can_take_products_that_are_there_already() -> None:
    attention = attention_of("dot", 4, 4, 6, True)
    target, history = tf.constant(normal(2, 4)), GatheredHistory(tf.constant(normal(2, 6, 4)))
    mask = tf.ones([2, 6], tf.bool)
    products = history.scores(target[:, tf.newaxis])
    np.testing.assert_array_equal(
        attention.scores(target, history, mask, products), attention.scores(target, history, mask)
    )


def test_bilinear_begins_as_the_dot_and_the_position_bias_as_nothing() -> None:
    dot = TargetAttention("dot", 4, 4, 6, 1, (6, 5), False, False, "dot")
    bilinear = TargetAttention("bilinear", 4, 4, 6, 1, (6, 5), True, False, "bilinear")
    target, items, mask = normal(2, 4), normal(2, 6, 4), np.ones((2, 6), bool)
    np.testing.assert_allclose(attend(dot, target, items, mask), attend(bilinear, target, items, mask), atol=1e-6)


def test_multiply_adds_of_a_row_by_hand() -> None:
    count = {
        kind: TargetAttention(kind, 4, 4, 6, 3, (6, 5), True, False, kind).multiply_adds
        for kind in ("dot", "bilinear", "activation_unit", "multi_head")
    }
    unit = 2 * 4 * 6 + 6 * 5 + 5  # i·(W₁+W₃) and (i∘t)·W₄; the target's part is not per step
    assert count == {
        "dot": 6 * (4 + 4), "bilinear": 6 * (4 + 4), "activation_unit": 6 * (unit + 4), "multi_head": 6 * 3 * (4 + 4)
    }  # fmt: skip
