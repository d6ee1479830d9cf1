"""A model's small weights as constants of its graph, while the graph is traced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from training.layers.embedding import EmbeddingTable

MOST_BYTES = 1 << 20


class _Constant:
    """Stands in for a variable in a layer: each graph that reads it gets a constant of its own.

    A tensor would not do: one made outside a loop's body enters it as an argument, and is no constant there.
    """

    def __init__(self, variable: tf.Variable) -> None:
        self.value: np.ndarray = variable.numpy()
        self.shape, self.dtype = variable.shape, variable.dtype

    def __getitem__(self, key: Any) -> tf.Tensor:
        return tf.constant(self.value)[key]


def _as_tensor(constant: _Constant, dtype: Any = None, name: str | None = None, as_ref: bool = False) -> tf.Tensor:
    return tf.constant(constant.value, dtype, name=name)


tf.register_tensor_conversion_function(_Constant, _as_tensor)


@contextmanager
def small_weights_as_constants(model: tf.Module) -> Iterator[None]:
    """What is traced inside holds the weights of at most MOST_BYTES by value; embedding tables stay variables.

    TensorFlow computes what depends on constants only once, when it first runs the graph: casts, and sums and parts
    of kernels. It prepares constant kernels for its products, and XLA compiles their values in. Tables stay variables,
    of which a server holds one copy.
    """
    found = [
        (module, name, value)
        for module in (model, *model.submodules)
        if not isinstance(module, EmbeddingTable)
        for name, value in vars(module).items()
        if isinstance(value, tf.Variable) and value.shape.num_elements() * value.dtype.size <= MOST_BYTES
    ]
    try:
        for module, name, value in found:
            object.__setattr__(module, name, _Constant(value))  # past the module's tracking: it is for now only
        yield
    finally:
        for module, name, value in found:
            object.__setattr__(module, name, value)
