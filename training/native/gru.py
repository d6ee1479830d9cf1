"""GRU and AUGRU through all steps in one operation."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from training.native import load_kernels

KERNEL_LANES = 16  # the kernel's units come in multiples of this


def gru_states(
    projected: tf.Tensor, run_of_row: tf.Tensor, recurrent: tf.Tensor, scale: tf.Tensor, last_only: bool
) -> tf.Tensor:
    """The states of layers.gru.Gru, form "paper": [B, S, H], or the last one [B, H], in the dtype of projected.

    projected [U, S, 3H], float32 or bfloat16: `cell.project` of each run. run_of_row [B]: ascending. recurrent [H, 3H]
    float32. scale [B, S]: attention, or 1, at real steps; 0 at padded ones.
    """
    out = load_kernels().recserve_gru(
        projected=projected, run_of_row=run_of_row, recurrent=recurrent, scale=tf.cast(scale, projected.dtype),
        last_only=last_only,
    )  # fmt: skip
    return out.last if last_only else out.states


@tf.RegisterGradient("RecserveGru")  # type: ignore[misc]
def _gru_gradient(op: Any, states_gradient: tf.Tensor, _: Any, last_gradient: tf.Tensor) -> list[tf.Tensor | None]:
    projected, run_of_row, recurrent, scale = op.inputs
    states, gates, _ = op.outputs
    gradient = load_kernels().recserve_gru_gradient(
        run_of_row=run_of_row, recurrent=recurrent, scale=scale, states=states, gates=gates,
        states_gradient=last_gradient if op.get_attr("last_only") else states_gradient, runs=tf.shape(projected)[0],
    )  # fmt: skip
    return [gradient.projected_gradient, None, gradient.recurrent_gradient, gradient.scale_gradient]
