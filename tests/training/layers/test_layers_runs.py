"""Runs of rows with the same history."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from training.layers.runs import Candidates, every_row, runs_of


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


@pytest.mark.parametrize("count", [0, 3])
def test_every_row_is_a_run(count: int) -> None:
    runs, values = every_row(tf.constant(count)), tf.range(count)
    assert runs.run_of_row.numpy().tolist() == list(range(count))
    assert runs.lengths.numpy().tolist() == [1] * count
    assert runs.to_rows(values) is runs.of_runs(values) is runs.in_rows(values) is values


def test_candidates_are_runs_of_one_length() -> None:
    runs = Candidates(tf.constant(2), tf.constant(3))
    values = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    assert runs.run_of_row.numpy().tolist() == [0, 0, 0, 1, 1, 1]
    assert runs.lengths.numpy().tolist() == [3, 3]
    expected = [[1.0, 2.0]] * 3 + [[3.0, 4.0]] * 3
    np.testing.assert_array_equal(runs.in_rows(values), expected)
    np.testing.assert_array_equal(runs.add(tf.ones([6, 2]), values), np.add(expected, 1.0))


def test_a_runs_value_is_added_to_its_rows() -> None:
    runs = runs_of([tf.constant([[4], [4], [9]])])
    np.testing.assert_array_equal(runs.add(tf.ones([3, 1]), tf.constant([[1.0], [5.0]])), [[2.0], [2.0], [6.0]])


def test_to_runs_and_back() -> None:
    runs = runs_of([tf.constant([[4], [4], [9]])])
    values = tf.constant([[1.0], [1.0], [2.0]])
    assert runs.of_runs(values).numpy().tolist() == [[1.0], [2.0]]
    np.testing.assert_array_equal(runs.to_rows(runs.of_runs(values)), values)
