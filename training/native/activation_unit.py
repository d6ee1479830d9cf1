"""The activation unit of DIN in one pass over the steps, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from training.native import load_kernels


def fits_activation_unit(dim: int, hidden: Sequence[int]) -> bool:
    """Whether the kernel has these widths: two hidden layers, in whole registers."""
    return len(hidden) == 2 and dim % 16 == 0 and hidden[0] % 16 == 0


def activation_unit_scores(
    items: tf.Tensor,
    item_part: tf.Tensor,
    target: tf.Tensor,
    target_part: tf.Tensor,
    weights: Sequence[tf.Tensor],
    run_of_row: tf.Tensor,
    mask: tf.Tensor,
) -> tf.Tensor:
    """x₁ = σ(item part + target part + (i∘t)·W_p), x₂ = σ(x₁·W₂ + b₂), score = x₂·w₃: float32 [B, S], 0 where padded.

    items [U, S, H], item_part [U, S, M], target [B, H], target_part [B, M] in float32 or bfloat16; weights: W_p [H, M],
    W₂ [M, N], b₂ [N], w₃ [N] float32. run_of_row [B] ascending. mask bool [B, S].
    """
    product, hidden, bias, head = weights
    return load_kernels().recserve_activation_unit(
        items=items, item_part=item_part, target=target, target_part=target_part, w_product=product, w_hidden=hidden,
        b_hidden=bias, w_head=head, run_of_row=run_of_row, mask=mask,
    )  # fmt: skip


def activation_unit_scores_of_candidates(
    items: tf.Tensor,
    item_part: tf.Tensor,
    target: tf.Tensor,
    weights: Sequence[tf.Tensor],
    run_of_row: tf.Tensor,
    mask: tf.Tensor,
) -> tf.Tensor:
    """The same without gradients, for long runs of rows. weights: W_p, W_t, W₂, b₂, w₃; target part target·W_t."""
    product, of_target, hidden, bias, head = weights
    return load_kernels().recserve_activation_unit_of_candidates(
        items=items, item_part=item_part, target=target, w_product=product, w_target=of_target, w_hidden=hidden,
        b_hidden=bias, w_head=head, run_of_row=run_of_row, mask=mask,
    )  # fmt: skip


@tf.RegisterGradient("RecserveActivationUnit")  # type: ignore[misc]
def _activation_unit_gradient(op: Any, gradient: tf.Tensor) -> list[tf.Tensor | None]:
    names = ("items", "item_part", "target", "target_part", "w_product", "w_hidden", "b_hidden", "w_head", "run_of_row")
    inputs = dict(zip((*names, "mask"), op.inputs, strict=True))
    return [*load_kernels().recserve_activation_unit_gradient(**inputs, scores_gradient=gradient), None, None]
