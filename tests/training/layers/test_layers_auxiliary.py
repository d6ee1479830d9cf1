"""DIEN's auxiliary loss."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.training import numpy_layers
from training.layers.auxiliary import AuxiliaryNetwork

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def network_of(hidden: tuple[int, ...] = (5, 4)) -> AuxiliaryNetwork:
    network = AuxiliaryNetwork(3, 2, hidden, False, "aux")
    for variable in network.trainable_variables:
        variable.assign(normal(*variable.shape))
    return network


def expected_loss(network, states, positive, negative, mask) -> float:
    """The plain mean over real steps of all rows."""
    losses = numpy_layers.cross_entropy(1.0, numpy_layers.auxiliary_logits(network, states, positive))
    losses += numpy_layers.cross_entropy(0.0, numpy_layers.auxiliary_logits(network, states, negative))
    return losses[mask].mean()


@pytest.mark.parametrize("hidden", [(5, 4), (5,)])
def test_auxiliary_loss_against_numpy(hidden: tuple[int, ...]) -> None:
    network = network_of(hidden)
    states, positive, negative = normal(2, 4, 3), normal(2, 4, 2), normal(2, 4, 2)
    mask = np.array([[False, True, True, False], [True, False, True, False]])
    got = network.loss(*map(tf.constant, (states, positive, negative, mask)), tf.constant([1, 1]))
    assert got.dtype == tf.float32
    np.testing.assert_allclose(got, expected_loss(network, states, positive, negative, mask), rtol=1e-5)


def test_runs_weighted_by_their_rows_are_the_mean_over_rows() -> None:
    network, rows = network_of(), np.array([3, 1, 2])
    states, positive, negative = normal(3, 4, 3), normal(3, 4, 2), normal(3, 4, 2)
    mask = np.array([[False, True, True, False], [False, False, True, False], [False] * 4])
    got = network.loss(*map(tf.constant, (states, positive, negative, mask, rows)))
    repeated = [np.repeat(x, rows, axis=0) for x in (states, positive, negative, mask)]
    np.testing.assert_allclose(got, expected_loss(network, *repeated), rtol=1e-5)


@pytest.mark.parametrize("logit", [14.0, 100.0, 1e4, -1e4])
def test_defect_3_auxiliary_loss_is_finite_at_extreme_logits(logit: float) -> None:
    """The reference's log(1 − p + …) is NaN from a logit of 14 on, and its mask does not remove it."""
    network = AuxiliaryNetwork(1, 1, (1,), False, "aux")
    network.head.kernel.assign([[0.01]])
    network.head.bias.assign([logit])
    one, rows = tf.ones([1, 2, 1]), tf.constant([1])
    with tf.GradientTape() as tape:
        loss = network.loss(one, one, one, tf.constant([[True, False]]), rows)
    gradients = tape.gradient(loss, network.trainable_variables)
    np.testing.assert_allclose(loss, abs(logit), rtol=0.1)
    assert all(np.isfinite(g.numpy()).all() for g in gradients)


def test_no_real_step_has_loss_and_gradient_zero() -> None:
    network, one = network_of(), tf.ones([2, 3, 3])
    with tf.GradientTape() as tape:
        loss = network.loss(one, one[..., :2], one[..., :2], tf.zeros([2, 3], tf.bool), tf.constant([1, 1]))
    assert loss.numpy() == 0.0
    assert not any(g.numpy().any() for g in tape.gradient(loss, network.trainable_variables))


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_low_precision_states_give_a_float32_loss(dtype: tf.DType) -> None:
    network, mask = network_of(), tf.ones([2, 4], tf.bool)
    x = [normal(2, 4, 3), normal(2, 4, 2), normal(2, 4, 2)]
    full = network.loss(*map(tf.constant, x), mask, tf.constant([1, 1]))
    low = network.loss(*(tf.cast(v, dtype) for v in x), mask, tf.constant([1, 1]))
    assert low.dtype == tf.float32
    np.testing.assert_allclose(low, full, rtol=0.03)
