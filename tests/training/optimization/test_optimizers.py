"""Optimizers against their papers' update rules in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from training.optimizers import KINDS, Adam, LazyAdam, Optimizer, Sgd

RNG = np.random.default_rng(0)
RATE = 0.1
TABLE = (6, 3)


def constant(_: tf.Tensor) -> tf.Tensor:
    return tf.constant(RATE)


def rows(ids: list[int], values: np.ndarray) -> tf.IndexedSlices:
    return tf.IndexedSlices(tf.constant(values, tf.float32), tf.constant(ids, tf.int32), tf.constant(TABLE))


def numpy_adam(start: np.ndarray, gradients: list[np.ndarray], weight_decay: float = 0.0) -> np.ndarray:
    """Kingma & Ba 2015, algorithm 1 in the form of its section 2; decoupled decay."""
    w, m, v = start.astype(np.float64), np.zeros(start.shape), np.zeros(start.shape)
    for step, g in enumerate(gradients, start=1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        corrected = RATE * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        w = w - RATE * weight_decay * w
        w = w - corrected * m / (np.sqrt(v) + 1e-7)
    return w


def run(kind: str, start: np.ndarray, gradients: list, weight_decay: float = 0.0) -> tuple[np.ndarray, Optimizer]:
    variable = tf.Variable(start, dtype=tf.float32)
    optimizer = KINDS[kind]([variable], constant, weight_decay)
    for gradient in gradients:
        optimizer.apply([variable], [gradient])
    return variable.numpy(), optimizer


@pytest.mark.parametrize("kind", ["adam", "lazy_adam"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_adam_against_numpy(kind: str, weight_decay: float) -> None:
    start, gradients = RNG.standard_normal((4, 5)), [RNG.standard_normal((4, 5)) for _ in range(5)]
    got, optimizer = run(kind, start, [tf.constant(g, tf.float32) for g in gradients], weight_decay)
    np.testing.assert_allclose(got, numpy_adam(start, gradients, weight_decay), atol=1e-5)
    assert optimizer.steps.numpy() == 5


def test_the_first_step_of_adam_is_the_learning_rate() -> None:
    got, _ = run("adam", np.zeros(3), [tf.constant([0.1, -5.0, 200.0])])
    np.testing.assert_allclose(got, [-RATE, RATE, -RATE], rtol=1e-3)


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_adam_on_rows_is_adam_on_the_dense_gradient(weight_decay: float) -> None:
    start = RNG.standard_normal(TABLE)
    parts = [(ids, RNG.standard_normal((len(ids), 3))) for ids in ([1, 4], [2], [4, 1, 5])]
    dense = []
    for ids, values in parts:
        dense.append(np.zeros(TABLE))
        dense[-1][ids] = values
    got, _ = run("adam", start, [rows(*p) for p in parts], weight_decay)
    np.testing.assert_allclose(got, numpy_adam(start, dense, weight_decay), atol=1e-5)
    same, _ = run("adam", start, [tf.constant(g, tf.float32) for g in dense], weight_decay)
    np.testing.assert_array_equal(got, same)


def test_defect_9_lazy_adam_leaves_rows_that_were_not_looked_up_alone() -> None:
    """The reference makes the gradient dense, and its lazy Adam is Adam: momentum goes on moving every row."""
    start = RNG.standard_normal(TABLE)
    variable = tf.Variable(start, dtype=tf.float32)
    optimizer = LazyAdam([variable], constant, 0.1)
    optimizer.apply([variable], [rows([1, 4], RNG.standard_normal((2, 3)))])
    before, first, second = variable.numpy(), optimizer.first[0].numpy(), optimizer.second[0].numpy()
    np.testing.assert_array_equal(before[[0, 2, 3, 5]], start.astype(np.float32)[[0, 2, 3, 5]])
    optimizer.apply([variable], [rows([4], RNG.standard_normal((1, 3)))])
    untouched = [0, 1, 2, 3, 5]
    for now, then in ((variable, before), (optimizer.first[0], first), (optimizer.second[0], second)):
        np.testing.assert_array_equal(now.numpy()[untouched], then[untouched])
        assert (now.numpy()[4] != then[4]).all()
    adam = tf.Variable(start, dtype=tf.float32)
    plain = Adam([adam], constant, 0.0)
    for gradient in (rows([1], np.ones((1, 3))), rows([4], np.ones((1, 3)))):
        held = adam.numpy()
        plain.apply([adam], [gradient])
    assert (adam.numpy()[1] != held[1]).all()  # Adam moves row 1 in the step that looks up row 4 only


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_lazy_adam_on_the_same_rows_each_step_is_adam(weight_decay: float) -> None:
    start, gradients = RNG.standard_normal((6, 3)), [RNG.standard_normal((6, 3)) for _ in range(4)]
    got, _ = run("lazy_adam", start, [rows(list(range(6)), g) for g in gradients], weight_decay)
    np.testing.assert_allclose(got, numpy_adam(start, gradients, weight_decay), atol=1e-5)


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_sgd_by_hand(weight_decay: float) -> None:
    kept = 1 - RATE * weight_decay
    got, _ = run("sgd", np.array([1.0, -2.0]), [tf.constant([3.0, 5.0])], weight_decay)
    np.testing.assert_allclose(got, [kept - 0.3, -2.0 * kept - 0.5], rtol=1e-6)
    start = np.ones(TABLE)
    got, _ = run("sgd", start, [rows([2, 5], np.full((2, 3), 4.0))], weight_decay)
    np.testing.assert_allclose(got[[2, 5]], np.full((2, 3), kept - 0.4), rtol=1e-6)
    np.testing.assert_array_equal(got[[0, 1, 3, 4]], np.ones((4, 3)))


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_at_all_is_a_step_too(kind: str) -> None:
    start = RNG.standard_normal(TABLE).astype(np.float32)
    got, optimizer = run(kind, start, [rows([], np.zeros((0, 3)))])
    np.testing.assert_array_equal(got, start)
    assert optimizer.steps.numpy() == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_rate_is_that_of_the_step_counted_from_one(kind: str) -> None:
    seen = []

    def schedule(step: tf.Tensor) -> tf.Tensor:
        seen.append(float(step))
        return step * 0.0

    variable = tf.Variable([1.0])
    optimizer = KINDS[kind]([variable], schedule, 0.5)
    for _ in range(3):
        optimizer.apply([variable], [tf.constant([2.0])])
    assert seen == [1.0, 2.0, 3.0]
    assert variable.numpy() == [1.0]


def test_what_a_checkpoint_keeps() -> None:
    variables = [tf.Variable([1.0]), tf.Variable([[2.0]])]
    assert len(Adam(variables, constant, 0.0).variables) == len(LazyAdam(variables, constant, 0.0).variables) == 5
    assert len(Sgd(variables, constant, 0.0).variables) == 1
    assert not Adam(variables, constant, 0.0).trainable_variables
