"""Compiled CPU kernels for what TensorFlow's own operations are slow at. Optional: every one has a plain twin.

`make kernels` compiles them into this folder. Without them, on a GPU, under XLA and in the graph that is exported for
everyone, the layers use plain TensorFlow operations that give the same numbers (tests/training/native compares them).
"""

from __future__ import annotations

import functools
from typing import Any


@functools.cache
def load_kernels() -> Any:
    """The compiled operations; None if there are none, if they are of another TensorFlow, or if there is a GPU."""
    import tensorflow as tf

    from training.native.build import LIBRARY, is_current  # not above: `python -m` would warn that it is loaded

    if not is_current() or tf.config.list_physical_devices("GPU"):
        return None
    return tf.load_op_library(str(LIBRARY))


def kernels_available() -> bool:
    return load_kernels() is not None
