"""Dynamic loss scaling, and the sums of table gradients."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from training.amp import LossScale, compute_dtype
from training.sparse_gradients import concatenated, unique_rows


def slices(ids: list[int], values: list[list[float]]) -> tf.IndexedSlices:
    return tf.IndexedSlices(tf.constant(values), tf.constant(ids), tf.constant([9, len(values[0])]))


def test_amp_on_a_cpu_is_bfloat16() -> None:
    assert compute_dtype(False) == tf.float32
    assert compute_dtype(True) == (tf.float16 if tf.config.list_physical_devices("GPU") else tf.bfloat16)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_wide_dtypes_are_not_scaled_and_never_skipped(dtype: tf.DType) -> None:
    scale = LossScale(dtype)
    assert scale.scale.numpy() == 1.0
    assert bool(scale.update([tf.constant([np.nan])]))
    assert scale.unscale([tf.constant([3.0])])[0].numpy() == [3.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("in_a_table", [False, True])
def test_overflow_halves_the_scale_and_refuses_the_step(bad: float, in_a_table: bool) -> None:
    scale = LossScale(tf.float16)
    scale.quiet_steps.assign(7)
    gradient = slices([1, 2], [[1.0], [bad]]) if in_a_table else tf.constant([1.0, bad])
    assert not bool(scale.update([tf.constant([1.0]), gradient]))
    assert (scale.scale.numpy(), scale.quiet_steps.numpy()) == (2.0**14, 0)


def test_the_scale_never_falls_below_one() -> None:
    scale = LossScale(tf.float16)
    scale.scale.assign(1.0)
    scale.update([tf.constant([np.inf])])
    assert scale.scale.numpy() == 1.0


def test_the_scale_doubles_after_quiet_steps() -> None:
    scale = LossScale(tf.float16)
    scale.quiet_steps.assign(LossScale.GROWTH_STEPS - 2)
    assert bool(scale.update([tf.constant([1.0])]))
    assert (scale.scale.numpy(), scale.quiet_steps.numpy()) == (2.0**15, LossScale.GROWTH_STEPS - 1)
    assert bool(scale.update([tf.constant([1.0])]))
    assert (scale.scale.numpy(), scale.quiet_steps.numpy()) == (2.0**16, 0)


def test_unscaling_keeps_tables_sparse() -> None:
    dense, sparse = LossScale(tf.float16).unscale([tf.constant([2.0**15]), slices([3], [[2.0**16]])])
    assert dense.numpy() == [1.0]
    assert isinstance(sparse, tf.IndexedSlices)
    assert (sparse.indices.numpy().tolist(), sparse.values.numpy().tolist()) == ([3], [[2.0]])


def test_equal_ids_add_up_and_padding_is_dropped() -> None:
    rows = unique_rows(slices([3, 0, 1, 3], [[1.0, 2.0], [9.0, 9.0], [4.0, 5.0], [10.0, 20.0]]), native=False)
    assert rows.indices.numpy().tolist() == [3, 1]
    assert rows.values.numpy().tolist() == [[11.0, 22.0], [4.0, 5.0]]
    assert rows.indices.dtype == tf.int32


def test_int64_ids_and_low_precision_values_are_converted_before_they_add_up() -> None:
    many = tf.IndexedSlices(tf.ones([600, 1], tf.bfloat16), tf.ones([600], tf.int64), tf.constant([9, 1], tf.int64))
    rows = unique_rows(many, native=False)
    assert (rows.indices.numpy().tolist(), rows.values.numpy().tolist()) == ([1], [[600.0]])


def test_parts_one_after_another() -> None:
    together = concatenated([slices([3], [[1.0]]), slices([3, 4], [[2.0], [3.0]])])
    assert together.indices.numpy().tolist() == [3, 3, 4]
    assert together.values.numpy().ravel().tolist() == [1.0, 2.0, 3.0]
