"""Floating-point operations of a row, and how many this machine does in a second at most."""

from __future__ import annotations

import time

import tensorflow as tf

from training.models.base import CtrModel

PASSES = 3  # forward, gradient of the inputs, gradient of the weights
PEAK_SIZE = 2048
PEAK_PRODUCTS = 8


def training_flops_per_row(model: CtrModel) -> float:
    """2 a multiply-add, three passes. Table look-ups, activations and the optimizer are not counted."""
    return 2.0 * PASSES * model.multiply_adds(training=True)


def inference_flops_per_row(model: CtrModel) -> float:
    """2 a multiply-add of the scoring pass."""
    return 2.0 * model.multiply_adds(training=False)


def ranking_flops(model: CtrModel, candidates: int) -> float:
    """The same for one user with so many candidates, whose common part is computed once."""
    user = model.user_multiply_adds()
    return 2.0 * (user + candidates * (model.multiply_adds(training=False) - user))


def matrix_product_peak(dtype: tf.DType) -> float:
    """FLOP/s of a large square matrix product now: the best of a few, with all of TensorFlow's threads."""
    a = tf.cast(tf.random.normal([PEAK_SIZE, PEAK_SIZE]), dtype)
    product = tf.function(lambda x: tf.matmul(x, x))
    product(a).numpy()
    best = float("inf")
    for _ in range(PEAK_PRODUCTS):
        start = time.perf_counter()
        product(a)[0, 0].numpy()
        best = min(best, time.perf_counter() - start)
    return 2.0 * PEAK_SIZE**3 / best
