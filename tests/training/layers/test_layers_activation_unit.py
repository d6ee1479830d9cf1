"""The activation unit against the form in which the paper has it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.training import numpy_layers
from training.layers.activation_unit import ActivationUnit
from training.layers.runs import Runs, every_row, runs_of

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def unit_of(dim: int, hidden: tuple[int, ...]) -> ActivationUnit:
    unit = ActivationUnit(dim, hidden, False, "unit")
    for variable in unit.trainable_variables:
        variable.assign(normal(*variable.shape))
    return unit


def expected_scores(unit: ActivationUnit, items: np.ndarray, target: np.ndarray) -> np.ndarray:
    return np.array([numpy_layers.activation_unit(unit, i, t) for i, t in zip(items, target, strict=True)])


@pytest.mark.parametrize("hidden", [(80, 40), (5,), (6, 5, 4)])
def test_the_split_product_is_the_mlp_on_the_four_parts(hidden: tuple[int, ...]) -> None:
    unit = unit_of(6, hidden)
    items, target = normal(3, 5, 6), normal(3, 6)
    got = unit(tf.constant(items), tf.constant(target), every_row(tf.constant(3)), tf.ones([3, 5], tf.bool))
    np.testing.assert_allclose(got, expected_scores(unit, items, target), atol=2e-5)


@pytest.mark.parametrize("run_of_row", [[0, 0, 1, 2, 2, 2], [0] * 6, [0, 1, 2, 3, 4, 5]])
def test_rows_that_share_a_history_still_have_their_own_targets(run_of_row: list[int]) -> None:
    unit = unit_of(6, (8, 5))
    runs: Runs = runs_of([tf.constant(run_of_row)[:, tf.newaxis]])
    items, target = normal(run_of_row[-1] + 1, 5, 6), normal(6, 6)
    got = unit(tf.constant(items), tf.constant(target), runs, tf.ones([6, 5], tf.bool))
    np.testing.assert_allclose(got, expected_scores(unit, items[run_of_row], target), atol=2e-5)


def test_defect_4_a_batch_of_one_step_and_one_row_keeps_its_axes() -> None:
    unit = unit_of(2, (3, 3))
    assert unit(tf.ones([1, 1, 2]), tf.ones([1, 2]), every_row(tf.constant(1)), tf.ones([1, 1], tf.bool)).shape == (
        1,
        1,
    )
