"""Attention by inner products in one pass against the same from plain layers: sums and all gradients."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.training.gradients import Arrays, assert_near, assert_same_bits, output_and_gradients
from training.layers.history import GatheredHistory, masked_softmax, mean_weights
from training.layers.runs import Candidates
from training.layers.selection import top_k_mask
from training.native.dot_attention import native_dot_attention_of_candidates
from training.native.history import NativeHistory, SharedNativeHistory

WIDTHS = [(16, 16), (4, 20), (20, 16, 3), (1,)]
KINDS = [(0, False), (0, True), (3, False), (3, True), (1, True), (99, True)]


def plain_sums(
    history: GatheredHistory, query: tf.Tensor, bias: tf.Tensor | None, mask: tf.Tensor, k: int, relevance: bool
) -> tf.Tensor:
    """[B, Q, D], from the layers that have no kernels."""
    scores = history.scores(query[:, tf.newaxis])
    selected = top_k_mask(tf.stop_gradient(scores[:, 0]), mask, k) if k else mask
    weights = [masked_softmax(scores if bias is None else scores + bias, selected)]
    if k:
        weights.append(mean_weights(selected)[:, tf.newaxis])
    if relevance:
        weights.append(masked_softmax(scores, mask))
    return history.pool(tf.concat(weights, axis=1))


def both(
    k: int, relevance: bool, rows: int = 70, widths: tuple[int, ...] = (16, 16), steps: int = 7, padding: float = 0.4,
    cardinality: int = 9, biased: bool = True, dtype: tf.DType = tf.float32,
) -> tuple[Arrays, Arrays]:  # fmt: skip
    """(kernel, plain): the sums, and the gradients of query, bias and tables."""
    rng = np.random.default_rng(rows + 7 * steps + sum(widths) + k)
    tables = [tf.Variable(rng.standard_normal((cardinality + 1, w)), dtype=tf.float32, name="table") for w in widths]
    for table in tables:
        table[0].assign(tf.zeros([table.shape[1]]))
    real = rng.random((rows, steps)) >= padding
    ids = [tf.constant(rng.integers(1, cardinality + 1, (rows, steps)) * real, tf.int32) for _ in widths]
    if len(ids) > 1:  # an item of an unknown category is still an item
        ids[1] *= tf.constant(rng.random((rows, steps)) < 0.9, tf.int32)
    inputs = {"query": tf.constant(rng.standard_normal((rows, sum(widths))), tf.float32)}
    if biased:
        inputs["bias"] = tf.constant(rng.standard_normal(steps), tf.float32)

    def kernel(query: tf.Tensor, bias: tf.Tensor | None = None) -> tf.Tensor:
        history = NativeHistory(tables, ids, dtype)
        sums = history.attend(tf.cast(query, dtype), bias, tf.constant(real), k, relevance)
        return tf.cast(tf.stack(sums, axis=1), tf.float32)

    def plain(query: tf.Tensor, bias: tf.Tensor | None = None) -> tf.Tensor:
        vectors = tf.concat([tf.gather(t, i) for t, i in zip(tables, ids, strict=True)], axis=-1)
        query = tf.cast(tf.cast(query, dtype), tf.float32)
        return plain_sums(GatheredHistory(vectors), query, bias, tf.constant(real), k, relevance)

    got, expected = (output_and_gradients(f, inputs, tables) for f in (kernel, plain))
    return tuple({n: a[1:] if "table" in n else a for n, a in arrays.items()} for arrays in (got, expected))


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize(("k", "relevance"), KINDS)
def test_sums_and_gradients_are_those_of_plain_layers(k: int, relevance: bool, widths: tuple[int, ...]) -> None:
    assert_near(*both(k, relevance, widths=widths), relative=1e-5)


@pytest.mark.parametrize("rows", [0, 1, 2, 63, 65])
def test_any_number_of_rows(rows: int) -> None:
    assert_near(*both(3, True, rows=rows), relative=1e-5)


@pytest.mark.parametrize("steps", [1, 16, 17, 90])
def test_any_number_of_steps(steps: int) -> None:
    assert_near(*both(5, True, steps=steps, cardinality=50), relative=2e-5)


def test_without_a_bias() -> None:
    assert_near(*both(3, True, biased=False), relative=1e-5)


@pytest.mark.parametrize("padding", [0.0, 1.0])
def test_no_padding_and_nothing_but_padding(padding: float) -> None:
    native, plain = both(3, True, padding=padding)
    assert_near(native, plain, relative=1e-5)
    assert native["output"].any() == (padding < 1)


def test_tables_larger_than_the_batch() -> None:
    assert_near(*both(3, True, rows=3, cardinality=5000), relative=1e-5)


def test_bfloat16_rounds_the_query_and_the_sums_only() -> None:
    assert_near(*both(3, True, dtype=tf.bfloat16), relative=0.01)


def test_twice_the_same_bits() -> None:
    assert_same_bits(both(3, True, rows=300)[0], both(3, True, rows=300)[0])


def test_of_equal_scores_the_earlier_steps_are_selected() -> None:
    table = tf.constant([[0.0], [1.0], [2.0]])
    history = NativeHistory([tf.Variable(table)], [tf.constant([[1, 2, 1, 1, 0]])], tf.float32)
    mask = tf.constant([[True, True, True, True, False]])
    bias = tf.constant([10.0, 0.0, 0.0, 0.0, 0.0])  # tells the first of the equal steps in the sum
    _, average = history.attend(tf.constant([[1.0]]), bias, mask, k=2)
    np.testing.assert_allclose(average, [[1.5]])
    attended, _ = history.attend(tf.constant([[1.0]]), bias, mask, k=2)
    share = np.exp(2 - 11) / (1 + np.exp(2 - 11))  # logits 1 + 10 and 2 + 0
    np.testing.assert_allclose(attended, [[1 + share]], rtol=1e-5)


def test_nan_comes_out_as_nan() -> None:
    history = NativeHistory([tf.Variable([[0.0], [1.0], [np.nan]])], [tf.constant([[1, 2, 1, 1]])], tf.float32)
    sums = history.attend(tf.constant([[1.0]]), None, tf.ones([1, 4], tf.bool), k=2, relevance=True)
    assert all(np.isnan(s.numpy()).all() for s in (sums[0], sums[2]))


def attended(items: list[list[float]], query: list[list[float]], ids: list[list[int]], k: int) -> Arrays:
    """Sums and gradients for a table of these items, id 0 being padding."""
    table = tf.Variable([[0.0] * len(items[0]), *items], dtype=tf.float32, name="table")
    mask = tf.constant(np.array(ids) > 0)

    def sums(query: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        return tf.stack(NativeHistory([table], [tf.constant(ids)], tf.float32).attend(query, bias, mask, k, True), 1)

    inputs = {"query": tf.constant(query, tf.float32), "bias": tf.zeros([len(ids[0])])}
    return output_and_gradients(sums, inputs, [table])


GOOD = [[0.5, -1.0], [1.5, 0.2], [-0.3, 0.8]]


@pytest.mark.parametrize("k", [0, 2])
@pytest.mark.parametrize("hidden", [-np.inf, np.inf, np.nan])
def test_masked_steps_that_are_not_finite_change_no_sum_and_no_gradient(hidden: float, k: int) -> None:
    """An item whose vector is not finite, at a step that the mask leaves out."""
    tables = [tf.Variable([[0.0, 0.0], *GOOD, last], dtype=tf.float32, name="table") for last in ([hidden, 1], [2, 1])]
    mask = tf.constant([[True, False, True, True]])

    def of_table(table: tf.Variable) -> Arrays:
        def sums(query: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
            history = NativeHistory([table], [tf.constant([[1, 4, 2, 3]])], tf.float32)
            return tf.stack(history.attend(query, bias, mask, k, True), axis=1)

        return output_and_gradients(sums, {"query": tf.constant([[0.7, 0.4]]), "bias": tf.zeros([4])}, [table])

    got, expected = (of_table(table) for table in tables)
    assert all(np.isfinite(array).all() for array in got.values())
    assert_near(got, expected, relative=1e-6)
    np.testing.assert_array_equal(got["0_table:0"][4], 0.0)
    assert got["bias"][1] == 0.0


@pytest.mark.parametrize("k", [0, 2])
def test_a_score_that_overflows_to_minus_infinity_has_no_share_and_no_gradient(k: int) -> None:
    """Query and items are finite, their product is not: as if the step were not there."""
    query = [[1e38, 1.0]]
    items = [[1e-38, 0.5], [2e-38, -0.3], [-50.0, 0.1]]
    got = attended(items, query, [[1, 2, 3]], k)
    expected = attended(items, query, [[1, 2, 0]], k)
    assert all(np.isfinite(array).all() for array in got.values())
    assert_near(got, expected, relative=1e-5)
    np.testing.assert_array_equal(got["0_table:0"][3], 0.0)


@pytest.mark.parametrize("k", [0, 2])
def test_nan_in_one_row_comes_out_in_the_gradients_of_that_row_only(k: int) -> None:
    query = [[0.7, 0.4], [0.2, -0.6]]
    got = attended([*GOOD, [np.nan, 1.0]], query, [[1, 2, 3], [1, 4, 2]], k)
    alone = attended([*GOOD, [9.0, 9.0]], query[:1], [[1, 2, 3]], k)
    assert np.isnan(got["query"][1]).any()
    np.testing.assert_allclose(got["query"][0], alone["query"][0], rtol=1e-5)
    np.testing.assert_allclose(got["output"][0], alone["output"][0], rtol=1e-5)
    assert np.isnan(got["0_table:0"][4]).any()
    np.testing.assert_allclose(got["0_table:0"][3], alone["0_table:0"][3], rtol=1e-5)  # an item of the first row alone


@pytest.mark.parametrize("name", ["query", "bias", "mask", "ids"])
def test_shapes_that_do_not_fit_are_refused(name: str) -> None:
    inputs = {"query": tf.ones([2, 4]), "bias": tf.ones([3]), "mask": tf.ones([2, 3], tf.bool)}
    ids = tf.ones([2, 3], tf.int32)
    inputs.update({name: tf.ones([5, 5], tf.bool if name == "mask" else tf.float32)} if name != "ids" else {})
    history = NativeHistory([tf.Variable(tf.ones([3, 4]))], [7 * ids if name == "ids" else ids], tf.float32)
    with pytest.raises(tf.errors.InvalidArgumentError):
        history.attend(**inputs)


def of_candidates(
    k: int, users: int, each: int, steps: int = 40, width: int = 32, dtype: tf.DType = tf.float32, biased: bool = True,
    cardinality: int = 15,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(kernel, plain layers in float32): the sums [B, Q, D] of users' candidates; the first user's history is empty."""
    rng = np.random.default_rng(users * 1000 + each + 7 * steps + width + k)
    items = rng.standard_normal((cardinality, width))[rng.integers(0, cardinality, (users, steps))]
    real = rng.random((users, steps)) >= 0.2
    real[:1] &= users == 1
    query = rng.standard_normal((users * each, width))
    rows = Candidates(users, tf.constant(each))
    vectors, query = (tf.cast(tf.constant(a, tf.float32), dtype) for a in (items, query))
    bias, mask = tf.constant(rng.standard_normal(steps), tf.float32) if biased else None, rows.to_rows(real)
    got = SharedNativeHistory(vectors, rows).attend(query, bias, mask, k)
    assert {sums.dtype for sums in got} == {dtype}
    history = GatheredHistory(tf.cast(rows.to_rows(vectors), tf.float32))
    expected = plain_sums(history, tf.cast(query, tf.float32), bias, mask, k, relevance=False)
    return tf.cast(tf.stack(got, axis=1), tf.float32).numpy(), expected.numpy()


@pytest.mark.parametrize(("users", "each"), [(1, 1000), (1, 64), (1, 5), (3, 130), (4, 2), (2, 0), (0, 3)])
@pytest.mark.parametrize("k", [0, 1, 13, 99])
def test_candidates_of_users(k: int, users: int, each: int) -> None:
    got, expected = of_candidates(k, users, each)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("width", [1, 5, 16, 39])
@pytest.mark.parametrize("steps", [1, 15, 16, 17, 90])
def test_candidates_at_any_width_and_number_of_steps(steps: int, width: int) -> None:
    got, expected = of_candidates(6, 2, 70, steps, width, biased=False, cardinality=1000)
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("k", [0, 99])
def test_candidates_in_bfloat16_are_near_float32(k: int) -> None:
    got, expected = of_candidates(k, 2, 70, width=17, dtype=tf.bfloat16)
    np.testing.assert_allclose(got, expected, rtol=0, atol=0.02 * np.abs(expected).max())


def test_candidates_of_equal_scores_take_the_earlier_items_and_overflowed_ones_keep_their_share() -> None:
    """One user, items of one number: the query 1 scores them as they are, −1 the other way round, 0 all alike."""
    items = [0.0, -0.0, 2.0, -np.inf, 2.0, 1.0, -3.0]
    vectors, run_of_row = tf.constant(items, tf.float32)[tf.newaxis, :, tf.newaxis], tf.zeros([2], tf.int32)
    query, mask = tf.constant([[1.0], [3.0]]), tf.constant([[True, True, True, False, True, True, True]] * 2)
    for k, mean in ((1, 2.0), (2, 2.0), (3, 5 / 3), (4, 5 / 4), (5, 5 / 5), (6, 2 / 6)):
        _, average = native_dot_attention_of_candidates(query, vectors, None, run_of_row, mask, k)
        np.testing.assert_allclose(average, [[mean]] * 2, rtol=1e-6)
    numbered = tf.stack([tf.ones([7]), tf.range(7.0)], axis=1)[tf.newaxis]  # equal scores, known by their second number
    alike = tf.constant([[-1e38, 0.0], [1.0, 0.0]]) * tf.constant([[10.0], [1.0]])  # the first scores −∞
    attended, average = native_dot_attention_of_candidates(
        alike, numbered, None, run_of_row, tf.ones([2, 7], tf.bool), 3
    )
    np.testing.assert_allclose(attended, [[1.0, 1.0]] * 2, rtol=1e-6)
    np.testing.assert_allclose(average, [[1.0, 1.0]] * 2, rtol=1e-6)


def test_rows_of_a_run_with_different_masks_are_refused() -> None:
    ones = tf.ones
    with pytest.raises(tf.errors.InvalidArgumentError, match="one mask"):
        native_dot_attention_of_candidates(
            ones([2, 4]), ones([1, 3, 4]), None, tf.zeros([2], tf.int32), tf.constant([[True] * 3, [False] * 3]), 2
        )
    with pytest.raises(tf.errors.InvalidArgumentError, match="shapes do not fit"):
        native_dot_attention_of_candidates(
            ones([2, 4]), ones([1, 3, 5]), None, tf.zeros([2], tf.int32), ones([2, 3], tf.bool), 2
        )


def test_candidates_have_no_sum_that_only_a_loss_needs() -> None:
    history = SharedNativeHistory(tf.ones([1, 3, 4]), Candidates(1, 2))
    with pytest.raises(ValueError, match="relevance"):
        history.attend(tf.ones([2, 4]), None, tf.ones([2, 3], tf.bool), relevance=True)
