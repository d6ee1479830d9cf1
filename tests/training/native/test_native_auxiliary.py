"""The auxiliary loss's kernel against the plain layer: the loss and every gradient."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.gradients import Arrays, assert_near, assert_same_bits, output_and_gradients
from training.layers.auxiliary import AuxiliaryNetwork


def both(
    rows: int, hidden: tuple[int, int] = (100, 50), state: int = 32, item: int = 16, steps: int = 3,
    dtype: tf.DType = tf.float32, real: float = 0.6,
) -> tuple[Arrays, Arrays]:  # fmt: skip
    """Kernel and plain layer (always float32) on the same numbers."""
    rng = np.random.default_rng(rows * 1000 + state + steps)
    mask = tf.constant(rng.random((rows, steps)) < real)
    lengths = tf.constant(rng.integers(1, 4, rows), tf.int32)
    numbers = {
        "states": rng.standard_normal((rows, steps, state)),
        "positive": rng.standard_normal((rows, steps, item)),
        "negative": rng.standard_normal((rows, steps, item)),
    }
    arrays = []
    for native, kind in ((True, dtype), (False, tf.float32)):
        tf.random.set_seed(1)
        network = AuxiliaryNetwork(state, item, hidden, native, "auxiliary")
        assert network.native == native
        for variable in network.trainable_variables:
            if variable.shape.rank == 1:
                variable.assign(tf.random.normal(variable.shape))

        def loss(network: AuxiliaryNetwork = network, **vectors: tf.Tensor) -> tf.Tensor:
            return network.loss(**vectors, mask=mask, rows=lengths)

        inputs = {name: tf.cast(tf.cast(a, dtype), kind) for name, a in numbers.items()}
        arrays.append(output_and_gradients(loss, inputs, network.trainable_variables))
    return arrays[0], arrays[1]


@pytest.mark.parametrize("rows", [1, 2, 10, 11, 65, 130])
def test_float32_is_the_plain_layer(rows: int) -> None:
    assert_near(*both(rows), relative=1e-5)


@pytest.mark.parametrize("rows", [1, 65, 130])
def test_bfloat16_is_near_the_float32_layer(rows: int) -> None:
    """By the norm: where rounding moves a unit across PReLU's kink, gradients jump; plain bfloat16 is no nearer."""
    native, plain = both(rows, dtype=tf.bfloat16)
    assert native.keys() == plain.keys()
    for name, array in plain.items():
        assert np.linalg.norm(native[name] - array) <= 0.08 * np.linalg.norm(array) + 1e-6, name


def test_all_padding_has_loss_and_gradients_zero() -> None:
    native, plain = both(65, real=0.0)
    assert_near(native, plain, relative=1e-6)
    assert not any(a.any() for a in native.values())


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_a_batch_without_rows(dtype: tf.DType) -> None:
    native, plain = both(0, dtype=dtype)
    assert_near(native, plain, relative=1e-6)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_the_same_input_gives_the_same_bits(dtype: tf.DType) -> None:
    assert_same_bits(both(300, dtype=dtype)[0], both(300, dtype=dtype)[0])


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    rows=st.integers(0, 140), state=st.sampled_from([16, 32, 96]), item=st.sampled_from([16, 48]),
    first=st.sampled_from([1, 16, 23, 100]), second=st.sampled_from([1, 7, 16, 50]), steps=st.integers(1, 5),
)  # fmt: skip
def test_any_shape(rows: int, state: int, item: int, first: int, second: int, steps: int) -> None:
    assert_near(*both(rows, (first, second), state, item, steps), relative=2e-5)


@pytest.mark.parametrize("logit", [14.0, 100.0, 1e4, -1e4])
def test_extreme_logits_have_a_finite_loss(logit: float) -> None:
    network = AuxiliaryNetwork(16, 16, (16, 16), True, "auxiliary")
    network.head.bias.assign([logit])
    zeros = tf.zeros([1, 2, 16])
    with tf.GradientTape() as tape:
        loss = network.loss(zeros, zeros, zeros, tf.constant([[True, False]]), tf.constant([1]))
    gradients = tape.gradient(loss, network.trainable_variables)
    np.testing.assert_allclose(loss, abs(logit), rtol=0.1)
    assert all(np.isfinite(g.numpy()).all() for g in gradients)


@pytest.mark.parametrize(
    ("state", "item", "hidden"), [(6, 16, (16, 8)), (16, 6, (16, 8)), (16, 16, (16,)), (16, 16, (16, 8, 8))]
)
def test_what_the_kernel_does_not_have_is_computed_plainly(state: int, item: int, hidden: tuple[int, ...]) -> None:
    assert not AuxiliaryNetwork(state, item, hidden, True, "auxiliary").native


def test_shapes_that_do_not_fit_are_named() -> None:
    network = AuxiliaryNetwork(16, 16, (16, 8), True, "auxiliary")
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"positive \[1,3,16\]"):
        network.loss(
            tf.zeros([1, 2, 16]), tf.zeros([1, 3, 16]), tf.zeros([1, 2, 16]), tf.ones([1, 2], tf.bool), tf.constant([1])
        )
