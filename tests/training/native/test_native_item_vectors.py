"""Lookups in several tables at once against gather, concat and cast."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from training.native import load_kernels
from training.native.item_vectors import item_vectors

ROWS = (50, 7, 3)


def _tables(widths: tuple[int, ...]) -> list[tf.Variable]:
    rng = np.random.default_rng(0)
    return [
        tf.Variable(rng.standard_normal((rows, w)), dtype=tf.float32) for rows, w in zip(ROWS, widths, strict=False)
    ]


def _ids(count: int, shape: tuple[int, ...]) -> list[tf.Tensor]:
    rng = np.random.default_rng(1)
    return [tf.constant(rng.integers(0, rows, shape), tf.int32) for rows in ROWS[:count]]


def _plain(tables: list[tf.Tensor], ids: list[tf.Tensor], dtype: tf.DType) -> tf.Tensor:
    return tf.cast(tf.concat([tf.gather(t, i) for t, i in zip(tables, ids, strict=True)], axis=-1), dtype)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
@pytest.mark.parametrize("widths", [(16,), (16, 16), (4, 16, 33)])
@pytest.mark.parametrize("shape", [(0,), (1,), (9,), (200,), (0, 5), (70, 5), (4, 3, 2)])
def test_vectors_and_table_gradients(shape: tuple[int, ...], widths: tuple[int, ...], dtype: tf.DType) -> None:
    tables, ids = _tables(widths), _ids(len(widths), shape)
    upstream = tf.constant(np.random.default_rng(2).standard_normal((*shape, sum(widths))), dtype)
    found = []
    for lookup in (item_vectors, _plain):
        with tf.GradientTape() as tape:
            vectors = lookup([t.read_value() for t in tables], ids, dtype)
        gradients = tape.gradient(vectors, tables, output_gradients=upstream)
        found.append((vectors, [tf.convert_to_tensor(g) for g in gradients]))
    (vectors, gradients), (expected, of_plain) = found
    assert vectors.dtype == dtype
    assert vectors.shape == expected.shape
    np.testing.assert_array_equal(tf.cast(vectors, tf.float32), tf.cast(expected, tf.float32))
    for gradient, plain in zip(gradients, of_plain, strict=True):
        np.testing.assert_allclose(gradient, plain, rtol=1e-5, atol=1e-6)


def test_the_shape_is_known_while_tracing() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 5], tf.int32)])
    def lookup(ids: tf.Tensor) -> tf.Tensor:
        vectors = item_vectors([tf.zeros([9, 16]), tf.zeros([9, 4])], [ids, ids], tf.float32)
        assert vectors.shape.as_list() == [None, 5, 20]
        return vectors

    lookup(tf.zeros([2, 5], tf.int32))


@pytest.mark.parametrize("wrong", [-1, ROWS[0]])
def test_an_id_outside_its_table_is_refused(wrong: int) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="outside its table of 50 rows"):
        item_vectors(_tables((16,)), [tf.constant([1, wrong], tf.int32)], tf.float32)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
@pytest.mark.parametrize("factor", [1.0, 0.5, -3.0])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (70, 33)])
def test_scale(shape: tuple[int, ...], factor: float, dtype: tf.DType) -> None:
    value = tf.constant(np.random.default_rng(3).standard_normal(shape), dtype)
    scaled = load_kernels().recserve_scale(value=value, scale=tf.constant(factor))
    np.testing.assert_array_equal(tf.cast(scaled, tf.float32), tf.cast(tf.cast(factor, dtype) * value, tf.float32))


def test_scaling_leaves_a_value_that_others_use() -> None:
    value = tf.ones([100])

    @tf.function
    def both() -> tuple[tf.Tensor, tf.Tensor]:
        kept = value + 1.0
        return load_kernels().recserve_scale(value=kept, scale=tf.constant(2.0)), kept

    scaled, kept = both()
    assert np.unique(scaled) == 4.0
    assert np.unique(kept) == 2.0
