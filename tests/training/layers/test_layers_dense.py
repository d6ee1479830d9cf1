"""Affine layers, PReLU, the classifier and the embedding tables."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.training import numpy_layers
from training.layers.dense import Dense, PReLU, affine, glorot_uniform
from training.layers.dropout import dropout_seeds
from training.layers.embedding import EmbeddingTable, unknown_to_padding
from training.layers.mlp import ClassifierMlp

RNG = np.random.default_rng(0)


def test_dense_and_prelu_by_hand() -> None:
    dense = Dense(2, 2, "dense")
    dense.kernel.assign([[1.0, 2.0], [3.0, -4.0]])
    dense.bias.assign([0.5, 0.0])
    assert dense(tf.constant([[1.0, 1.0]])).numpy().tolist() == [[4.5, -2.0]]
    prelu = PReLU(2, "prelu")
    np.testing.assert_allclose(prelu(tf.constant([[4.5, -2.0]])), [[4.5, -0.2]], rtol=1e-6)


def test_prelu_has_one_slope_per_unit_and_zero_goes_through() -> None:
    prelu = PReLU(3, "prelu")
    prelu.alpha.assign([0.0, 0.5, -1.0])
    np.testing.assert_allclose(prelu(tf.constant([[-2.0, -2.0, -2.0], [0.0, 3.0, 3.0]])), [[0, -1, 2], [0, 3, 3]])


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 5), (0, 3, 5)])
def test_affine_keeps_the_leading_axes(shape: tuple[int, ...]) -> None:
    dense = Dense(5, 7, "dense")
    dense.bias.assign(RNG.standard_normal(7))
    x = RNG.standard_normal((1, *shape) if len(shape) == 1 else shape).astype(np.float32)
    np.testing.assert_allclose(dense(tf.constant(x)), numpy_layers.dense(dense, x), atol=1e-5)
    np.testing.assert_allclose(affine(tf.constant(x), dense.kernel), x @ dense.kernel.numpy(), atol=1e-5)


def test_affine_computes_in_its_inputs_dtype() -> None:
    dense = Dense(2, 2, "dense")
    for dtype in (tf.float16, tf.bfloat16, tf.float32):
        assert dense(tf.ones([1, 2], dtype)).dtype == dtype


def test_glorot_limit() -> None:
    values = glorot_uniform((100, 50)).numpy()
    assert 0.95 * 0.2 < np.abs(values).max() <= 0.2


@pytest.mark.parametrize("hidden", [(4,), (7, 5), (6, 5, 4)])
def test_classifier_against_numpy(hidden: tuple[int, ...]) -> None:
    mlp = ClassifierMlp(3, hidden, -1.0, False, "mlp")
    for dense in mlp.hidden:
        dense.bias.assign(RNG.standard_normal(dense.bias.shape))
    x = RNG.standard_normal((6, 3)).astype(np.float32)
    np.testing.assert_allclose(mlp(tf.constant(x), training=True), numpy_layers.classifier(mlp, x), atol=1e-5)


def test_defect_4_a_batch_of_one_keeps_its_axis_in_the_classifier() -> None:
    assert ClassifierMlp(3, (4,), -1.0, False, "mlp")(tf.ones([1, 3]), training=False).shape == (1,)


def test_classifier_ends_in_float32() -> None:
    assert ClassifierMlp(3, (4,), -1.0, False, "mlp")(tf.ones([2, 3], tf.bfloat16), training=True).dtype == tf.float32


def test_dropout_only_in_training_and_only_if_asked_for() -> None:
    x = tf.ones([4, 8])
    mlp = ClassifierMlp(8, (16,), 0.5, False, "mlp")
    np.testing.assert_array_equal(mlp(x, training=False), mlp(x, training=False))
    with dropout_seeds(1, ()):
        assert np.ptp(mlp(x, training=True).numpy()) > 0
    assert np.ptp(ClassifierMlp(8, (16,), -1.0, False, "off")(x, training=True).numpy()) == 0
    assert np.ptp(ClassifierMlp(8, (16,), 0.0, False, "zero")(x, training=True).numpy()) == 0


def test_embedding_row_zero_is_zero_and_ids_reach_the_cardinality() -> None:
    table = EmbeddingTable(100, 4, "table")
    vectors = table(tf.constant([0, 1, 100]), tf.float32).numpy()
    assert not vectors[0].any()
    assert vectors[1:].all()
    assert np.abs(table.table.numpy()).max() <= 101**-0.5


def test_unknown_ids_become_padding() -> None:
    ids = tf.constant([-1, 0, 1, 5, 6, 2**62], tf.int64)
    assert unknown_to_padding(ids, 5).numpy().tolist() == [0, 0, 1, 5, 0, 0]


@pytest.mark.parametrize("dtype", [tf.int8, tf.uint8, tf.int32, tf.uint64])
def test_unknown_ids_of_any_integer_dtype(dtype: tf.DType) -> None:
    """A limit beyond the dtype must not wrap around."""
    assert unknown_to_padding(tf.constant([0, 5, 127], dtype), 200).numpy().tolist() == [0, 5, 127]
    assert unknown_to_padding(tf.constant([dtype.max], dtype), 5).numpy().tolist() == [0]
