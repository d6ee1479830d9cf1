"""Buckets of the intervals between a behaviour and the target."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from training.layers.time_intervals import BUCKETS, TimeIntervals

NOW = 1_400_000_000.0
HOUR = 3600.0


def buckets(target: list[float], history: list[list[float]]) -> np.ndarray:
    return TimeIntervals(4, "times").buckets(tf.constant(target), tf.constant(history)).numpy()


def test_buckets_by_hand() -> None:
    hours = [0.0, 0.5, 2.0, 5.0, 10.0, 100.0, 24 * 365.0]
    got = buckets([NOW], [[NOW - h * HOUR for h in hours]])
    assert got.tolist() == [[1, 1, 2, 3, 4, 7, 14]]


@pytest.mark.parametrize("n", range(1, 13))
def test_a_bucket_begins_at_its_bound(n: int) -> None:
    """[2^n − 1, 2^(n+1) − 1) hours is bucket n + 1. Small numbers: float32 has whole seconds up to 2^24 only."""
    bound = (2.0**n - 1) * HOUR
    assert buckets([bound + 1.0], [[1.0]]).tolist() == [[n + 1]]


def test_padding_is_zero_and_later_than_the_target_is_now() -> None:
    assert buckets([NOW, NOW], [[0.0, NOW + 1e6], [0.0, 1.0]]).tolist() == [[0, 1], [0, 19]]


def test_every_bucket_has_a_row_and_none_goes_beyond() -> None:
    times = TimeIntervals(4, "times")
    assert times.table.table.shape == (BUCKETS + 1, 4)
    assert buckets([3e13], [[1.0]]).tolist() == [[BUCKETS]]
