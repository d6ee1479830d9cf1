"""Dropout whose masks are a function of a seed, so that a resumed run draws those of an uninterrupted one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count

import tensorflow as tf

_SEEDS: ContextVar[Iterator[tf.Tensor] | None] = ContextVar("dropout_seeds", default=None)


@contextmanager
def dropout_seeds(seed: int, numbers: Sequence[tf.Tensor | int]) -> Iterator[None]:
    """What `dropout` draws its masks from within it; the calls are told apart by their order.

    numbers: scalars that make this pass another one than those before it, such as the step. Tensors, where a graph
    is traced once and run for many of their values.
    """
    token = _SEEDS.set(_seeds(seed, numbers))
    try:
        yield
    finally:
        _SEEDS.reset(token)


def dropout(x: tf.Tensor, rate: float) -> tf.Tensor:
    """Zero with probability rate, x/(1 − rate) otherwise; Srivastava et al. 2014. Any shape and float dtype.

    Raises RuntimeError outside of `dropout_seeds`.
    """
    seeds = _SEEDS.get()
    if seeds is None:
        raise RuntimeError("dropout without a seed; run the training pass within dropout_seeds(seed, numbers)")
    return tf.nn.experimental.stateless_dropout(x, rate, next(seeds))


def _seeds(seed: int, numbers: Sequence[tf.Tensor | int]) -> Iterator[tf.Tensor]:
    """One int32 [2] for each call. Made when asked for: without dropout a graph has none of it."""
    for call in count():
        mixed = tf.constant([seed, call], tf.int32)
        for number in numbers:
            mixed = tf.random.fold_in(mixed, tf.cast(number, tf.int32))
        yield mixed
