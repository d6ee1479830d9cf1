"""PReLU in one pass over the data, and its gradient in another."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from training.native import load_kernels


def prelu(x: tf.Tensor, alpha: tf.Variable) -> tf.Tensor:
    """max(x, 0) + α·min(x, 0). x [..., units], float32 or bfloat16; alpha [units] float32."""
    return load_kernels().recserve_prelu(x=x, alpha=tf.convert_to_tensor(alpha))


@tf.RegisterGradient("RecservePrelu")  # type: ignore[misc]
def _prelu_gradient(op: Any, gradient: tf.Tensor) -> list[tf.Tensor]:
    return list(load_kernels().recserve_prelu_gradient(x=op.inputs[0], alpha=op.inputs[1], gradient=gradient))
