"""GRU, both forms of AUGRU, and interest evolution."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.training import numpy_layers
from training.layers.gru import Gru
from training.layers.interest_evolution import InterestEvolution
from training.layers.runs import Runs, every_row, runs_of

RNG = np.random.default_rng(0)
MASK = np.array([[False, False, True, True, True], [True] * 5, [False] * 5, [True, False, True, False, True]])


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def gru_of(inputs: int, units: int, form: str = "paper") -> Gru:
    gru = Gru(inputs, units, "gru", form)
    for variable in gru.trainable_variables:
        variable.assign(normal(*variable.shape))
    return gru


def states_of(gru: Gru, x: np.ndarray, mask: np.ndarray, attention: np.ndarray | None, runs: Runs) -> np.ndarray:
    weight = None if attention is None else tf.constant(attention)
    return gru(gru.cell.project(tf.constant(x)), runs, tf.constant(mask), weight).numpy()


@pytest.mark.parametrize("form", ["paper", "reference"])
@pytest.mark.parametrize("with_attention", [False, True])
def test_gru_and_both_forms_of_augru_against_numpy(form: str, with_attention: bool) -> None:
    gru, x = gru_of(4, 3, form), normal(4, 5, 4)
    attention = RNG.random((4, 5)).astype(np.float32) if with_attention else None
    got = states_of(gru, x, MASK, attention, every_row(tf.constant(4)))
    rows = [None] * 4 if attention is None else list(attention)
    expected = [numpy_layers.gru(gru.cell, x[i], MASK[i], rows[i], form) for i in range(4)]
    np.testing.assert_allclose(got, expected, atol=2e-6)


def test_rows_of_a_run_share_inputs_but_not_attention() -> None:
    gru, x = gru_of(4, 3), normal(2, 5, 4)
    run_of_row = [0, 0, 1]
    attention, mask = RNG.random((3, 5)).astype(np.float32), np.ones((3, 5), bool)
    got = states_of(gru, x, mask, attention, runs_of([tf.constant(run_of_row)[:, tf.newaxis]]))
    expected = [numpy_layers.gru(gru.cell, x[run], mask[i], attention[i]) for i, run in enumerate(run_of_row)]
    np.testing.assert_allclose(got, expected, atol=2e-6)


def test_last_only_is_the_last_state() -> None:
    gru, x = gru_of(4, 3), tf.constant(normal(4, 5, 4))
    arguments = (gru.cell.project(x), every_row(tf.constant(4)), tf.constant(MASK))
    np.testing.assert_array_equal(gru(*arguments, last_only=True), gru(*arguments)[:, -1])


def test_augru_follows_the_paper_zero_attention_keeps_the_state_and_one_is_a_gru() -> None:
    gru, x, mask, rows = gru_of(4, 3), normal(1, 2, 4), np.ones((1, 2), bool), every_row(tf.constant(1))
    first, second = states_of(gru, x, mask, np.array([[1.0, 0.0]], np.float32), rows)[0]
    np.testing.assert_array_equal(second, first)
    np.testing.assert_allclose(
        states_of(gru, x, mask, np.ones((1, 2), np.float32), rows), states_of(gru, x, mask, None, rows), atol=1e-7
    )


def test_augru_of_the_reference_does_the_opposite() -> None:
    """Full attention keeps nothing of the state: h' = c, whatever the update gate says."""
    gru, x, mask = gru_of(4, 3, "reference"), normal(1, 1, 4), np.ones((1, 1), bool)
    got = states_of(gru, x, mask, np.ones((1, 1), np.float32), every_row(tf.constant(1)))[0, 0]
    candidate = np.tanh(x[0, 0] @ gru.cell.kernel.numpy()[:, 6:] + gru.cell.bias.numpy()[6:])
    np.testing.assert_allclose(got, candidate, atol=1e-6)


def evolution_of(form: str, masked: bool) -> InterestEvolution:
    evolution = InterestEvolution(4, 6, (5, 3), form, masked, False, "evolution")
    for variable in evolution.trainable_variables:
        variable.assign(0.5 * normal(*variable.shape))
    return evolution


def interest(evolution: InterestEvolution, items: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """As the models call it: padded steps are zero vectors."""
    real, items = tf.constant(mask), tf.constant(items * mask[..., np.newaxis])
    states = evolution.extract(items, real)
    return evolution.evolve(states, real, tf.constant(target), every_row(tf.constant(len(items)))).numpy()


@pytest.mark.parametrize("form", ["paper", "reference"])
@pytest.mark.parametrize("masked", [True, False])
def test_interest_evolution_against_numpy(form: str, masked: bool) -> None:
    evolution, items, target = evolution_of(form, masked), normal(4, 5, 4), normal(4, 4)
    expected = []
    for row in range(4):
        steps = MASK[row] if masked else np.ones(5, bool)
        states = numpy_layers.gru(evolution.extractor.cell, items[row] * MASK[row][:, None], steps)
        query = numpy_layers.prelu(evolution.target_prelu, numpy_layers.dense(evolution.target_dense, target[row]))
        attention = np.zeros(5)
        scores = numpy_layers.activation_unit(evolution.activation_unit, states, query)
        attention[MASK[row]] = numpy_layers.softmax(scores[MASK[row]])
        expected.append(numpy_layers.gru(evolution.evolver.cell, states, steps, attention, form)[-1])
    np.testing.assert_allclose(interest(evolution, items, target, MASK), expected, atol=5e-6)


@pytest.mark.parametrize("form", ["paper", "reference"])
def test_left_padding_does_not_reach_the_states(form: str) -> None:
    evolution, items, target = evolution_of(form, masked=True), normal(2, 3, 4), normal(2, 4)
    padded = np.concatenate([normal(2, 5, 4), items], axis=1)
    mask = np.array([[False] * 5 + [True] * 3] * 2)
    short = interest(evolution, items, target, mask[:, 5:])
    np.testing.assert_allclose(interest(evolution, padded, target, mask), short, atol=1e-6)


def test_unmasked_rnns_let_padding_through_as_the_reference_does() -> None:
    evolution, items, target = evolution_of("reference", masked=False), normal(2, 3, 4), normal(2, 4)
    padded = np.concatenate([np.zeros((2, 5, 4), np.float32), items], axis=1)
    mask = np.array([[False] * 5 + [True] * 3] * 2)
    short = interest(evolution, items, target, mask[:, 5:])
    assert np.abs(interest(evolution, padded, target, mask) - short).max() > 1e-3


def test_no_behaviour_at_all_gives_no_interest() -> None:
    evolution = evolution_of("paper", masked=True)
    assert not interest(evolution, normal(2, 3, 4), normal(2, 4), np.zeros((2, 3), bool)).any()
