"""Attention straight from the tables against a gathered history; and rows of table gradients, each once."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.gradients import Arrays, assert_near, assert_same_bits, dense, output_and_gradients
from training.layers.embedding import EmbeddingTable
from training.layers.history import GatheredHistory
from training.native.history import NativeHistory
from training.sparse_gradients import concatenated, unique_rows

WIDTHS = [(16,), (4, 20), (4,), (20, 16, 3), (1, 1)]


def without_padding_row(arrays: Arrays) -> Arrays:
    """The step drops the gradient of row 0 anyway; the kernel does not have it."""
    return {name: a[1:] if "table" in name else a for name, a in arrays.items()}


def both(
    rows: int, widths: tuple[int, ...], steps: int = 5, queries: int = 2, padding: float = 0.4, cardinality: int = 9,
    dtype: tf.DType = tf.float32,
) -> tuple[Arrays, Arrays]:  # fmt: skip
    """(kernel, plain) on the same tables: scores and pooled vectors in one, and the gradients of both."""
    rng = np.random.default_rng(rows + 7 * steps + sum(widths))
    tables = [EmbeddingTable(cardinality, width, f"table_{i}") for i, width in enumerate(widths)]
    for table in tables:
        table.table.assign(
            np.concatenate(
                [np.zeros((1, table.table.shape[1])), rng.standard_normal((cardinality, table.table.shape[1]))]
            )
        )
    ids = [
        tf.constant(rng.integers(1, cardinality + 1, (rows, steps)) * (rng.random((rows, steps)) >= padding), tf.int32)
        for _ in widths
    ]
    numbers = {
        "queries": rng.standard_normal((rows, queries, sum(widths))),
        "weights": rng.random((rows, queries, steps)),
    }
    numbers["weights"][:, :, ::2] = 0

    def kernel(queries: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        history = NativeHistory([t.table for t in tables], ids, dtype)
        return tf.concat([history.scores(queries), tf.cast(history.pool(weights), tf.float32)], axis=2)

    def plain(queries: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        history = GatheredHistory(tf.concat([t(i, tf.float32) for t, i in zip(tables, ids, strict=True)], axis=-1))
        return tf.concat([history.scores(queries), history.pool(weights)], axis=2)

    inputs = {name: tf.constant(a, tf.float32) for name, a in numbers.items()}
    variables = [t.table for t in tables]
    got, expected = (without_padding_row(output_and_gradients(f, inputs, variables)) for f in (kernel, plain))
    return got, expected


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("rows", [1, 2, 63, 64, 65, 130])
def test_scores_and_sums_are_those_of_a_gathered_history(rows: int, widths: tuple[int, ...]) -> None:
    assert_near(*both(rows, widths), relative=1e-5)


@pytest.mark.parametrize("padding", [0.0, 1.0])
def test_no_padding_and_nothing_but_padding(padding: float) -> None:
    native, plain = both(65, (4, 20), padding=padding)
    assert_near(native, plain, relative=1e-5)
    assert native["output"].any() == (padding < 1)


def test_a_batch_without_rows() -> None:
    assert_near(*both(0, (4, 20)), relative=1e-6)


def test_tables_larger_than_the_batch() -> None:
    assert_near(*both(3, (16,), cardinality=5000), relative=1e-5)


def test_results_in_bfloat16_are_rounded_once() -> None:
    native, plain = both(65, (4, 20), dtype=tf.bfloat16)
    assert_near(native, plain, relative=0.01)


def test_the_same_input_gives_the_same_bits() -> None:
    assert_same_bits(both(300, (4, 20))[0], both(300, (4, 20))[0])


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    rows=st.integers(0, 140), widths=st.lists(st.integers(1, 35), min_size=1, max_size=3), steps=st.integers(1, 20),
    queries=st.integers(1, 4), cardinality=st.integers(1, 300),
)  # fmt: skip
def test_any_shape(rows: int, widths: list[int], steps: int, queries: int, cardinality: int) -> None:
    assert_near(*both(rows, tuple(widths), steps, queries, cardinality=cardinality), relative=2e-5)


def test_the_vectors_themselves() -> None:
    table, ids = tf.Variable(tf.random.normal([4, 3])), tf.constant([[0, 3]])
    history = NativeHistory([table, table], [ids, ids], tf.float32)
    assert history.width == 6
    np.testing.assert_array_equal(history.vectors, tf.tile(tf.gather(table, ids), [1, 1, 2]))


def test_shapes_are_known_when_traced() -> None:
    table = tf.Variable(tf.zeros([4, 3]))

    @tf.function(input_signature=[tf.TensorSpec([None, 5], tf.int32), tf.TensorSpec([None, 2, 3])])
    def traced(ids: tf.Tensor, queries: tf.Tensor) -> tf.Tensor:
        history = NativeHistory([table], [ids], tf.float32)
        scores = history.scores(queries)
        assert scores.shape.as_list() == [None, 2, 5]
        assert history.pool(scores).shape.as_list() == [None, 2, 3]
        return scores

    assert traced(tf.zeros([1, 5], tf.int32), tf.zeros([1, 2, 3])).shape == (1, 2, 5)


@pytest.mark.parametrize("bad", [10, -1, 2**31 - 1, -(2**31)])
def test_ids_outside_of_their_table_are_an_error_not_a_crash(bad: int) -> None:
    history = NativeHistory([tf.Variable(tf.zeros([10, 4]))], [tf.constant([[1, bad]])], tf.float32)
    with pytest.raises(tf.errors.InvalidArgumentError, match="outside its table of 10"):
        history.scores(tf.zeros([1, 1, 4]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="outside its table of 10"):
        history.pool(tf.zeros([1, 1, 2]))


def test_shapes_that_do_not_fit_are_refused() -> None:
    history = NativeHistory([tf.Variable(tf.zeros([10, 4]))], [tf.ones([2, 3], tf.int32)], tf.float32)
    with pytest.raises(tf.errors.InvalidArgumentError, match="queries"):
        history.scores(tf.zeros([2, 1, 5]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="weights"):
        history.pool(tf.zeros([2, 1, 4]))


def test_gradients_of_tables_name_each_row_once() -> None:
    table = tf.Variable(tf.random.normal([50, 4]))
    ids = tf.constant(np.random.default_rng(0).integers(0, 50, (40, 10)), tf.int32)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(NativeHistory([table], [ids], tf.float32).scores(tf.ones([40, 1, 4])))
    gradient = tape.gradient(total, table)
    assert isinstance(gradient, tf.IndexedSlices)
    assert sorted(gradient.indices.numpy()) == sorted(set(ids.numpy().ravel()) - {0})


@pytest.mark.parametrize(
    ("count", "width", "cardinality"), [(0, 4, 9), (1, 4, 9), (63, 20, 9), (500, 16, 1000), (130, 1, 2)]
)
def test_unique_rows_are_those_of_the_plain_form(count: int, width: int, cardinality: int) -> None:
    rng = np.random.default_rng(count)
    ids, values = rng.integers(0, cardinality + 1, count).astype(np.int32), rng.standard_normal((count, width))
    slices = tf.IndexedSlices(tf.constant(values, tf.float32), tf.constant(ids), tf.constant([cardinality + 1, width]))
    native, plain = unique_rows(slices, True), unique_rows(slices, False)
    assert len(native.indices) == len(set(ids) - {0})
    assert sorted(native.indices.numpy()) == sorted(plain.indices.numpy())  # in any order
    np.testing.assert_allclose(dense(native), dense(plain), atol=1e-5)
    np.testing.assert_allclose(dense(native), dense(slices) * (np.arange(cardinality + 1) > 0)[:, None], atol=1e-5)
    np.testing.assert_array_equal(unique_rows(slices, True).values, native.values)


def test_unique_rows_of_parts_one_after_another() -> None:
    shape = tf.constant([5, 1])
    parts = [tf.IndexedSlices(tf.constant([[1.0], [2.0]]), tf.constant([3, 1]), shape),
             tf.IndexedSlices(tf.constant([[4.0], [8.0]]), tf.constant([0, 3]), shape)]  # fmt: skip
    rows = unique_rows(concatenated(parts), True)
    assert dict(zip(rows.indices.numpy(), rows.values.numpy().ravel(), strict=True)) == {3: 9.0, 1: 2.0}
