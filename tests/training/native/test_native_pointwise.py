"""PReLU and the affine layer against the plain layers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.gradients import Arrays, assert_near, assert_same_bits, output_and_gradients
from training.layers.dense import Dense, PReLU
from training.layers.mlp import ClassifierMlp

WIDTHS = [1, 4, 16, 20, 33, 200]
ROWS = [0, 1, 2, 63, 64, 65, 130]


def both(build, shape: tuple[int, ...], dtype: tf.DType = tf.float32) -> tuple[Arrays, Arrays]:
    """(kernel, plain in float32) of a layer; build(native) makes it."""
    x = np.random.default_rng(sum(shape)).standard_normal(shape)
    arrays = []
    for native, kind in ((True, dtype), (False, tf.float32)):
        tf.random.set_seed(1)
        layer = build(native)
        for number, variable in enumerate(layer.trainable_variables):
            variable.assign(np.random.default_rng(number).standard_normal(variable.shape))
        inputs = {"x": tf.cast(tf.cast(x, dtype), kind)}
        arrays.append(output_and_gradients(layer, inputs, layer.trainable_variables))
    return arrays[0], arrays[1]


@pytest.mark.parametrize("units", WIDTHS)
@pytest.mark.parametrize("rows", ROWS)
def test_prelu_is_the_plain_layer(rows: int, units: int) -> None:
    assert_near(*both(lambda native: PReLU(units, "prelu", native), (rows, units)), relative=1e-5)


@pytest.mark.parametrize("units", WIDTHS)
@pytest.mark.parametrize("rows", ROWS)
def test_dense_is_the_plain_layer(rows: int, units: int) -> None:
    assert_near(*both(lambda native: Dense(7, units, "dense", native), (rows, 7)), relative=1e-5)


@pytest.mark.parametrize("build", [lambda n: PReLU(20, "prelu", n), lambda n: Dense(20, 33, "dense", n)])
def test_three_axes(build) -> None:
    assert_near(*both(build, (5, 3, 20)), relative=1e-5)


@pytest.mark.parametrize("build", [lambda n: PReLU(20, "prelu", n), lambda n: Dense(20, 33, "dense", n)])
def test_bfloat16_is_near_float32(build) -> None:
    assert_near(*both(build, (65, 20), tf.bfloat16), relative=0.02)


@pytest.mark.parametrize("build", [lambda n: PReLU(20, "prelu", n), lambda n: Dense(20, 33, "dense", n)])
def test_the_same_input_gives_the_same_bits(build) -> None:
    assert_same_bits(both(build, (300, 20))[0], both(build, (300, 20))[0])


@settings(max_examples=12, deadline=None, derandomize=True)
@given(rows=st.integers(0, 140), units=st.integers(1, 70))
def test_any_shape(rows: int, units: int) -> None:
    assert_near(*both(lambda native: PReLU(units, "prelu", native), (rows, units)), relative=2e-5)
    assert_near(*both(lambda native: Dense(units, 9, "dense", native), (rows, units)), relative=2e-5)


def test_prelu_of_zero_not_a_number_and_a_wrong_width() -> None:
    prelu = PReLU(3, "prelu", True)
    assert prelu(tf.constant([[0.0, np.nan, -1.0]])).numpy()[0, [0, 2]].tolist() == [0.0, np.float32(-0.1)]
    assert np.isnan(prelu(tf.constant([[0.0, np.nan, -1.0]])).numpy()[0, 1])
    with pytest.raises(tf.errors.InvalidArgumentError, match="does not end in 3"):
        prelu(tf.zeros([2, 4]))


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_gradients_do_not_lose_small_terms(dtype: tf.DType) -> None:
    """A sum in bfloat16 would stop growing at 256."""
    dense = Dense(3, 19, "dense", True)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(dense(tf.ones([5000, 3], dtype)))
    kernel, bias = tape.gradient(loss, [dense.kernel, dense.bias])
    assert kernel.dtype == bias.dtype == tf.float32
    assert bias.numpy().tolist() == [5000.0] * 19
    assert kernel.numpy().tolist() == [[5000.0] * 19] * 3


@pytest.mark.parametrize("rows", [0, 1, 65])
def test_classifier(rows: int) -> None:
    class Scored(tf.Module):
        def __init__(self, native: bool) -> None:
            super().__init__("scored")
            self.mlp = ClassifierMlp(9, (20, 33), -1.0, native, "mlp")

        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            return self.mlp(x, training=True)

    assert_near(*both(Scored, (rows, 9)), relative=2e-5)
