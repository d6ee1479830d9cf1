"""Runs of rows with the same history."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from training.layers.runs import every_row, runs_of


def plain(runs) -> tuple[list[int], list[int], list[int]]:
    assert all(part.dtype == tf.int32 for part in runs)
    return tuple(part.numpy().tolist() for part in runs)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], ([], [], [])),
        ([5], ([0], [0], [1])),
        ([5, 5], ([0], [0, 0], [2])),
        ([5, 5, 6, 5, 5, 5], ([0, 2, 3], [0, 0, 1, 2, 2, 2], [2, 1, 3])),
        ([1, 2, 3], ([0, 1, 2], [0, 1, 2], [1, 1, 1])),
    ],
)
def test_runs_by_hand(rows: list[int], expected: tuple) -> None:
    history = tf.reshape(tf.constant(rows, tf.int32), [-1, 1])
    assert plain(runs_of([tf.tile(history, [1, 3])])) == expected
    traced = tf.function(lambda h: tuple(runs_of([h])), input_signature=[tf.TensorSpec([None, 1], tf.int32)])
    assert plain(traced(history)) == expected


def test_rows_differ_if_any_history_differs_at_any_step() -> None:
    positive = tf.constant([[0, 1], [0, 1], [0, 1], [1, 1]])
    negative = tf.constant([[3, 3], [3, 3], [3, 4], [3, 4]])
    assert plain(runs_of([positive, negative])) == ([0, 2, 3], [0, 0, 1, 2], [2, 1, 1])


def test_every_row_is_a_run() -> None:
    assert plain(every_row(tf.constant(3))) == ([0, 1, 2], [0, 1, 2], [1, 1, 1])
    assert plain(every_row(tf.constant(0))) == ([], [], [])


def test_to_runs_and_back() -> None:
    runs = runs_of([tf.constant([[4], [4], [9]])])
    values = tf.constant([[1.0], [1.0], [2.0]])
    assert runs.of_runs(values).numpy().tolist() == [[1.0], [2.0]]
    np.testing.assert_array_equal(runs.to_rows(runs.of_runs(values)), values)
