"""The activation unit's kernel against the plain layer: scores and every gradient."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.gradients import Arrays, assert_near, assert_same_bits, output_and_gradients
from training.layers.activation_unit import ActivationUnit
from training.layers.runs import Candidates, runs_of
from training.native.activation_unit import activation_unit_scores, activation_unit_scores_of_candidates


def both(
    rows: int, dim: int, hidden: tuple[int, int] = (16, 8), steps: int = 3, longest: int = 3,
    dtype: tf.DType = tf.float32, padding: float = 0.4,
) -> tuple[Arrays, Arrays]:  # fmt: skip
    """Kernel and plain layer (always float32) on the same numbers; the scores of padded steps mean nothing: 0."""
    rng = np.random.default_rng(rows * 1000 + dim + steps)
    run_of_row = np.repeat(np.arange(rows), rng.integers(1, longest + 1, rows))[:rows]
    runs = runs_of([tf.constant(run_of_row.reshape(-1, 1), tf.int32)])
    mask = tf.constant(rng.random((rows, steps)) >= padding)
    numbers = {
        "items": rng.standard_normal((len(runs.first_row), steps, dim)),
        "target": rng.standard_normal((rows, dim)),
    }
    arrays = []
    for native, kind in ((True, dtype), (False, tf.float32)):
        tf.random.set_seed(1)
        unit = ActivationUnit(dim, hidden, native, "unit")
        assert unit.native == native
        unit.bias.assign(tf.random.normal(unit.bias.shape))
        unit.hidden[0].bias.assign(tf.random.normal(unit.hidden[0].bias.shape))

        def scores(items: tf.Tensor, target: tf.Tensor, unit: ActivationUnit = unit) -> tf.Tensor:
            return tf.where(mask, unit(items, target, runs, mask), 0.0)

        inputs = {name: tf.cast(tf.cast(a, dtype), kind) for name, a in numbers.items()}
        arrays.append(output_and_gradients(scores, inputs, unit.trainable_variables))
    return arrays[0], arrays[1]


@pytest.mark.parametrize("dim", [16, 32, 96])
@pytest.mark.parametrize("rows", [1, 2, 63, 64, 65, 130])
def test_float32_is_the_plain_layer(rows: int, dim: int) -> None:
    assert_near(*both(rows, dim), relative=1e-5)


@pytest.mark.parametrize("hidden", [(16, 16), (80, 40), (32, 24), (48, 8)])
def test_any_hidden_widths_that_fit(hidden: tuple[int, int]) -> None:
    assert_near(*both(70, 16, hidden), relative=1e-5)


@pytest.mark.parametrize("rows", [1, 65, 130])
def test_bfloat16_is_near_the_float32_layer(rows: int) -> None:
    assert_near(*both(rows, 32, (80, 40), dtype=tf.bfloat16), relative=0.04)


@pytest.mark.parametrize("longest", [1, 70, 1000])
def test_runs_that_cross_blocks_of_rows(longest: int) -> None:
    assert_near(*both(200, 16, longest=longest), relative=1e-5)


def test_all_padding_scores_zero_and_has_gradients_zero() -> None:
    native, plain = both(65, 16, padding=1.0)
    assert_near(native, plain, relative=1e-6)
    assert not any(a.any() for a in native.values())


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_a_batch_without_rows(dtype: tf.DType) -> None:
    native, plain = both(0, 16, dtype=dtype)
    assert_near(native, plain, relative=1e-6)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_the_same_input_gives_the_same_bits(dtype: tf.DType) -> None:
    assert_same_bits(both(300, 32, dtype=dtype)[0], both(300, 32, dtype=dtype)[0])


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    rows=st.integers(0, 140), dim=st.sampled_from([16, 32, 48]), first=st.sampled_from([16, 32, 80]),
    second=st.sampled_from([1, 5, 8, 16, 40]), steps=st.integers(1, 5), longest=st.integers(1, 80),
)  # fmt: skip
def test_any_shape(rows: int, dim: int, first: int, second: int, steps: int, longest: int) -> None:
    assert_near(*both(rows, dim, (first, second), steps, longest), relative=2e-5)


@pytest.mark.parametrize(("dim", "hidden"), [(6, (16, 8)), (20, (16, 8)), (16, (20, 8)), (16, (16,)), (16, (16, 8, 8))])
def test_what_the_kernel_does_not_have_is_computed_plainly(dim: int, hidden: tuple[int, ...]) -> None:
    assert not ActivationUnit(dim, hidden, True, "unit").native


@pytest.mark.parametrize("run_of_row", [[1, 1, 4], [0] * 200, [5] * 3])
def test_runs_that_no_row_is_of_have_gradients_zero(run_of_row: list[int]) -> None:
    rows, used = len(run_of_row), sorted(set(run_of_row))
    rng = np.random.default_rng(0)
    items = tf.constant(rng.standard_normal((6, 3, 16)), tf.float32)
    others = [rng.standard_normal(s) for s in ((6, 3, 16), (rows, 16), (rows, 16), (16, 16), (16, 8), (8,), (8,))]
    item_part, target, target_part, *weights = [tf.constant(a, tf.float32) for a in others]
    with tf.GradientTape() as tape:
        tape.watch([items, item_part])
        runs, mask = tf.constant(run_of_row, tf.int32), tf.ones([rows, 3], tf.bool)
        scores = activation_unit_scores(items, item_part, target, target_part, weights, runs, mask)
    for gradient in tape.gradient(scores, [items, item_part]):
        np.testing.assert_array_equal(np.flatnonzero(np.abs(gradient).max(axis=(1, 2))), used)


def of_candidates(
    users: int, each: int, dtype: tf.DType, widths: tuple[int, int, int] = (32, 80, 40)
) -> list[np.ndarray]:
    """Scores of users' candidates by the kernel and by the plain layer (always float32), 0 at padded steps.

    One user's steps are all padding; some rows have padding of their own.
    """
    rng, (dim, *hidden), steps = np.random.default_rng(users * 1000 + each), widths, 6
    mask = np.arange(steps) >= rng.integers(0, steps, (users, 1))
    mask[:1] = users == 1
    mask = np.repeat(mask, each, axis=0) & (rng.random((users * each, 1)) < 0.9)
    items, target = rng.standard_normal((users, steps, dim)), rng.standard_normal((users * each, dim))
    scores = []
    for native, kind in ((True, dtype), (False, tf.float32)):
        tf.random.set_seed(1)
        unit = ActivationUnit(dim, hidden, native, "unit")
        unit.bias.assign(tf.random.normal(unit.bias.shape))
        unit.hidden[0].bias.assign(tf.random.normal(unit.hidden[0].bias.shape))
        inputs = [tf.cast(tf.cast(a, dtype), kind) for a in (items, target)]
        got = unit(*inputs, Candidates(users, tf.constant(each)), tf.constant(mask))
        assert got.dtype == tf.float32
        scores.append(np.where(mask, got, 0.0))
        if native:
            np.testing.assert_array_equal(got, scores[0])
    return scores


@pytest.mark.parametrize(("users", "each"), [(1, 1000), (1, 64), (1, 5), (3, 130), (4, 2), (2, 0), (0, 3)])
def test_candidates_of_users(users: int, each: int) -> None:
    got, expected = of_candidates(users, each, tf.float32)
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6)
    low, expected = of_candidates(users, each, tf.bfloat16)
    np.testing.assert_allclose(low, expected, rtol=0, atol=0.03 * np.abs(expected).max(initial=0.0))


@pytest.mark.parametrize("widths", [(16, 16, 1), (16, 32, 24), (96, 80, 40), (48, 16, 100)])
def test_candidates_at_any_widths_that_fit(widths: tuple[int, int, int]) -> None:
    got, expected = of_candidates(2, 70, tf.float32, widths)
    np.testing.assert_allclose(got, expected, rtol=0, atol=5e-6)


def test_shapes_of_candidates_that_do_not_fit_are_refused() -> None:
    ones = tf.ones
    weights = (ones([16, 16]), ones([16, 16]), ones([16, 8]), ones([8]), ones([8]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="shapes do not fit"):
        activation_unit_scores_of_candidates(
            ones([1, 3, 16]), ones([1, 3, 16]), ones([2, 16]), weights, tf.zeros([2], tf.int32), ones([2, 4], tf.bool)
        )
    with pytest.raises(tf.errors.InvalidArgumentError, match="must ascend"):
        activation_unit_scores_of_candidates(
            ones([1, 3, 16]), ones([1, 3, 16]), ones([2, 16]), weights, tf.constant([0, 1]), ones([2, 3], tf.bool)
        )
