"""The auxiliary loss with its gradients, in one pass over the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from training.native import load_kernels


def fits_auxiliary_loss(state_dim: int, item_dim: int, hidden: Sequence[int]) -> bool:
    """Whether the kernel has these widths: inputs in whole registers, two hidden layers."""
    return len(hidden) == 2 and state_dim % 16 == 0 and item_dim % 16 == 0


def auxiliary_loss(
    states: tf.Tensor, positive: tf.Tensor, negative: tf.Tensor, weights: Sequence[tf.Tensor], step_weights: tf.Tensor
) -> tf.Tensor:
    """Σ step_weight · (softplus(−logit⁺) + softplus(logit⁻)), float32 scalar.

    logit = prelu(prelu(h·W_h + e·W_e + b₁)·W₂ + b₂)·w₃ + b₃. states [U, S, H], positive and negative [U, S, D] in
    float32 or bfloat16. weights, float32: W_h [H, M], W_e [D, M], b₁ and its PReLU's α [M], W₂ [M, N], b₂ and α [N],
    w₃ [N], b₃ [1]. step_weights [U, S] float32, no gradient; steps of weight 0 are left out.
    """
    names = ("w_state", "w_item", "b_first", "alpha_first", "w_hidden", "b_hidden", "alpha_hidden", "w_head", "b_head")
    return load_kernels().recserve_auxiliary_loss(
        states=states, positive=positive, negative=negative, step_weights=step_weights,
        **dict(zip(names, weights, strict=True)),
    ).loss  # fmt: skip


@tf.RegisterGradient("RecserveAuxiliaryLoss")  # type: ignore[misc]
def _auxiliary_loss_gradient(op: Any, upstream: tf.Tensor, *_: Any) -> list[tf.Tensor | None]:
    return [*(load_kernels().recserve_scale(value=g, scale=upstream) for g in op.outputs[1:]), None]
