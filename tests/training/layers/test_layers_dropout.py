"""Dropout: its law, and masks that are a function of seed, numbers and call."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from training.layers.dropout import dropout, dropout_seeds

ONES = tf.ones([200, 50])


def masks(seed: int, numbers: tuple[int, ...], calls: int = 1) -> list[np.ndarray]:
    with dropout_seeds(seed, numbers):
        return [dropout(ONES, 0.5).numpy() for _ in range(calls)]


@pytest.mark.parametrize("rate", [0.1, 0.75])
@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_a_share_is_zero_and_the_rest_makes_up_for_it(rate: float, dtype: tf.DType) -> None:
    with dropout_seeds(1, (2,)):
        y = dropout(tf.cast(ONES, dtype), rate)
    assert y.dtype == dtype
    values = tf.cast(y, tf.float32).numpy()
    deviation = (rate * (1 - rate) / values.size) ** 0.5
    assert (values == 0).mean() == pytest.approx(rate, abs=4 * deviation + (0.01 if dtype == tf.bfloat16 else 0))
    np.testing.assert_allclose(values[values != 0], 1 / (1 - rate), rtol=0.01)


def test_masks_repeat_for_the_same_seed_numbers_and_call_only() -> None:
    first, second = masks(3, (7, 0), calls=2)
    again = masks(3, (7, 0), calls=2)
    np.testing.assert_array_equal(first, again[0])
    np.testing.assert_array_equal(second, again[1])
    others = [second, *masks(4, (7, 0)), *masks(3, (8, 0)), *masks(3, (7, 1)), *masks(3, (0, 7))]
    for other in others:  # independent masks agree at half of the places
        assert (first == other).mean() == pytest.approx(0.5, abs=0.03)


def test_a_graph_traced_once_gives_each_step_its_own_masks() -> None:
    @tf.function(input_signature=[tf.TensorSpec([], tf.int64)])
    def at(step: tf.Tensor) -> tf.Tensor:
        with dropout_seeds(3, (step,)):
            return dropout(ONES, 0.5)

    for step in (1, 2):
        np.testing.assert_array_equal(at(step), masks(3, (step,))[0])
    assert at.experimental_get_tracing_count() == 1


def test_without_a_seed_it_is_refused() -> None:
    with dropout_seeds(1, ()):
        pass
    with pytest.raises(RuntimeError, match="dropout without a seed"):
        dropout(ONES, 0.5)
