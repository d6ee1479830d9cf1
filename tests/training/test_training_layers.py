"""Layers against numbers worked out by hand or an independent numpy version."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from training.layers.activation_unit import ActivationUnit
from training.layers.attention import attend, dot_scores, masked_mean, masked_softmax
from training.layers.auxiliary import AuxiliaryNetwork
from training.layers.dense import Dense, PReLU
from training.layers.embedding import EmbeddingTable, unknown_to_padding
from training.layers.gru import Gru
from training.layers.interest_evolution import InterestEvolution
from training.layers.mlp import ClassifierMlp
from training.layers.selection import select_top_k

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def test_dense_and_prelu_by_hand() -> None:
    dense = Dense(2, 2, "dense")
    dense.kernel.assign([[1.0, 2.0], [3.0, -4.0]])
    dense.bias.assign([0.5, 0.0])
    assert dense(tf.constant([[1.0, 1.0]])).numpy().tolist() == [[4.5, -2.0]]
    prelu = PReLU(2, "prelu")
    np.testing.assert_allclose(prelu(tf.constant([[4.5, -2.0]])), [[4.5, -0.2]], rtol=1e-6)


def test_masked_softmax_by_hand_and_all_padding() -> None:
    scores = tf.constant([[0.0, np.log(3.0), 50.0], [1.0, 2.0, 3.0]])
    mask = tf.constant([[True, True, False], [False, False, False]])
    np.testing.assert_allclose(masked_softmax(scores, mask), [[0.25, 0.75, 0.0], [0.0, 0.0, 0.0]], atol=1e-6)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_masked_softmax_survives_low_precision(dtype: tf.DType) -> None:
    weights = masked_softmax(tf.constant([[-60000.0, 0.0, 60000.0]], dtype), tf.constant([[True, True, False]]))
    np.testing.assert_allclose(weights, [[0.0, 1.0, 0.0]], atol=1e-6)


def test_attend_and_masked_mean_by_hand() -> None:
    values = tf.constant([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])
    mask = tf.constant([[True, True, False]])
    np.testing.assert_allclose(dot_scores(tf.constant([[2.0, 5.0]]), values), [[2.0, 5.0, 63.0]])
    np.testing.assert_allclose(attend(tf.constant([[0.0, np.log(3.0), 7.0]]), values, mask), [[0.25, 0.75]], atol=1e-6)
    np.testing.assert_allclose(masked_mean(values, mask), [[0.5, 0.5]])
    np.testing.assert_allclose(masked_mean(values, tf.zeros_like(mask)), [[0.0, 0.0]])


def test_selection_takes_the_best_real_items_and_marks_padding() -> None:
    items = tf.reshape(tf.range(4.0), [1, 4, 1])
    scores = tf.constant([[9.0, 1.0, 3.0, 2.0]])
    selected = select_top_k(scores, items, tf.constant([[False, True, True, True]]), k=2)
    assert sorted(selected.items.numpy().ravel().tolist()) == [2.0, 3.0]
    assert selected.mask.numpy().all()
    few = select_top_k(scores, items, tf.constant([[False, False, True, False]]), k=3)
    assert few.mask.numpy().sum() == 1
    assert few.items.numpy().ravel()[few.mask.numpy().ravel()].tolist() == [2.0]


def test_defect_5_history_shorter_than_k() -> None:
    selected = select_top_k(tf.ones([2, 3]), tf.ones([2, 3, 4]), tf.ones([2, 3], tf.bool), k=50)
    assert selected.items.shape == (2, 3, 4)


def test_defect_8_selection_mask_keeps_items_whose_score_underflows() -> None:
    scores = tf.constant([[0.0, -1e-30, 0.0]])
    selected = select_top_k(scores, tf.ones([1, 3, 1]), tf.constant([[True, True, False]]), k=2)
    assert selected.mask.numpy().tolist() == [[True, True]]


def test_activation_unit_is_the_mlp_on_the_four_parts() -> None:
    unit = ActivationUnit(6, "unit")
    items, target = normal(3, 5, 6), normal(3, 6)
    unit.bias.assign(normal(80))
    repeated = np.repeat(target[:, None], 5, axis=1)
    parts = np.concatenate([items, repeated, items - repeated, items * repeated], axis=-1)
    x = sigmoid(parts @ unit.kernel.numpy() + unit.bias.numpy())
    x = sigmoid(x @ unit.hidden.kernel.numpy() + unit.hidden.bias.numpy())
    expected = (x @ unit.head.kernel.numpy() + unit.head.bias.numpy())[..., 0]
    np.testing.assert_allclose(unit(tf.constant(items), tf.constant(target)), expected, atol=2e-6)


def numpy_gru(gru: Gru, x: np.ndarray, mask: np.ndarray, attention: np.ndarray | None) -> np.ndarray:
    """Step by step from the equations of DIEN; the gates' columns are update, reset, candidate."""
    w, u, b = gru.cell.kernel.numpy(), gru.cell.recurrent.numpy(), gru.cell.bias.numpy()
    n = gru.cell.units
    h = np.zeros((len(x), n), np.float32)
    states = []
    for t in range(x.shape[1]):
        a, r = x[:, t] @ w + b, h @ u
        update, reset = sigmoid(a[:, :n] + r[:, :n]), sigmoid(a[:, n : 2 * n] + r[:, n : 2 * n])
        candidate = np.tanh(a[:, 2 * n :] + reset * r[:, 2 * n :])
        if attention is not None:
            update = update * attention[:, t : t + 1]
        new = (1 - update) * h + update * candidate
        h = np.where(mask[:, t : t + 1], new, h)
        states.append(h)
    return np.stack(states, axis=1)


@pytest.mark.parametrize("with_attention", [False, True])
def test_gru_and_augru_against_numpy(with_attention: bool) -> None:
    gru = Gru(4, 3, "gru")
    gru.cell.bias.assign(normal(9))
    x, mask = normal(2, 5, 4), np.array([[False, False, True, True, True], [True] * 5])
    attention = RNG.random((2, 5)).astype(np.float32) if with_attention else None
    got = gru(tf.constant(x), tf.constant(mask), None if attention is None else tf.constant(attention))
    np.testing.assert_allclose(np.stack(got, axis=1), numpy_gru(gru, x, mask, attention), atol=1e-6)


def test_augru_follows_the_paper_zero_attention_keeps_the_state_and_one_is_a_gru() -> None:
    """The reference's u ← (1 − a)·u with swapped sides would do the opposite."""
    gru = Gru(4, 3, "gru")
    x, mask = tf.constant(normal(1, 2, 4)), tf.constant([[True, True]])
    first, second = gru(x, mask, tf.constant([[1.0, 0.0]]))
    np.testing.assert_array_equal(second, first)
    np.testing.assert_allclose(gru(x, mask, tf.ones([1, 2])), gru(x, mask), atol=1e-7)


def test_left_padding_does_not_reach_the_states() -> None:
    evolution = InterestEvolution(4, 6, "evolution")
    items, target = normal(2, 3, 4), tf.constant(normal(2, 4))
    padded = np.concatenate([normal(2, 5, 4), items], axis=1)
    mask = np.array([[False] * 5 + [True] * 3] * 2)
    short = evolution(tf.constant(items), target, tf.constant(mask[:, 5:]))
    long = evolution(tf.constant(padded), target, tf.constant(mask))
    np.testing.assert_allclose(long.interest, short.interest, atol=1e-6)


def test_auxiliary_loss_against_numpy() -> None:
    network = AuxiliaryNetwork(3, 2, (5, 4), "aux")
    network.bias.assign(normal(5))
    states, positive, negative = normal(2, 4, 3), normal(2, 4, 2), normal(2, 4, 2)
    mask = np.array([[False, True, True, True], [False, False, False, True]])

    def prelu(x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, x, 0.1 * x)

    def probability(items: np.ndarray) -> np.ndarray:
        kernel = np.concatenate([network.state_kernel.numpy(), network.item_kernel.numpy()])
        x = prelu(np.concatenate([states, items], axis=-1) @ kernel + network.bias.numpy())
        x = prelu(x @ network.hidden[0].kernel.numpy() + network.hidden[0].bias.numpy())
        return sigmoid(x @ network.head.kernel.numpy() + network.head.bias.numpy())[..., 0]

    losses = -np.log(probability(positive)) - np.log(1 - probability(negative))
    got = network.loss(*map(tf.constant, (states, positive, negative, mask)))
    np.testing.assert_allclose(got, losses[mask].mean(), rtol=1e-5)


def test_defect_3_auxiliary_loss_is_finite_at_extreme_logits() -> None:
    network = AuxiliaryNetwork(1, 1, (1,), "aux")
    network.head.bias.assign([80.0])
    one = tf.ones([1, 1, 1])
    with tf.GradientTape() as tape:
        loss = network.loss(one, one, one, tf.constant([[True]]))
    gradients = tape.gradient(loss, network.trainable_variables)
    assert np.isfinite(loss.numpy())
    assert all(np.isfinite(g.numpy()).all() for g in gradients)
    assert network.loss(one, one, one, tf.constant([[False]])).numpy() == 0.0


def test_defect_4_a_batch_of_one_keeps_its_axis() -> None:
    mlp = ClassifierMlp(3, (4,), -1.0, "mlp")
    assert mlp(tf.ones([1, 3]), training=False).shape == (1,)
    assert ActivationUnit(2, "unit")(tf.ones([1, 1, 2]), tf.ones([1, 2])).shape == (1, 1)


def test_dropout_only_in_training_and_only_if_asked_for() -> None:
    tf.random.set_seed(1)
    x = tf.ones([4, 8])
    mlp = ClassifierMlp(8, (16,), 0.5, "mlp")
    np.testing.assert_array_equal(mlp(x, training=False), mlp(x, training=False))
    assert np.ptp(mlp(x, training=True).numpy()) > 0
    assert np.ptp(ClassifierMlp(8, (16,), -1.0, "off")(x, training=True).numpy()) == 0


def test_embedding_row_zero_is_zero_and_ids_reach_the_cardinality() -> None:
    table = EmbeddingTable(100, 4, "table")
    vectors = table(tf.constant([0, 1, 100]), tf.float32).numpy()
    assert not vectors[0].any()
    assert vectors[1:].all()
    assert np.abs(table.table.numpy()).max() <= 101**-0.5


def test_unknown_ids_become_padding() -> None:
    ids = tf.constant([-1, 0, 1, 5, 6, 2**62], tf.int64)
    assert unknown_to_padding(ids, 5).numpy().tolist() == [0, 0, 1, 5, 0, 0]


@pytest.mark.parametrize("dtype", [tf.int8, tf.uint8, tf.int32, tf.uint64])
def test_unknown_ids_of_any_integer_dtype(dtype: tf.DType) -> None:
    """A limit beyond the dtype must not wrap around."""
    assert unknown_to_padding(tf.constant([0, 5, 127], dtype), 200).numpy().tolist() == [0, 5, 127]
    assert unknown_to_padding(tf.constant([dtype.max], dtype), 5).numpy().tolist() == [0]
