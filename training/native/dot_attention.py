"""Attention by inner products in one pass over each row's steps, straight from the embedding tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from training.native import load_kernels


def native_dot_attention(
    query: tf.Tensor,
    bias: tf.Tensor | None,
    mask: tf.Tensor,
    tables: Sequence[tf.Tensor],
    ids: Sequence[tf.Tensor],
    k: int,
    relevance: bool,
) -> list[tf.Tensor]:
    """Weighted sums of the item vectors i_l of the real steps, with scores s_l = query·i_l. Each float32 [B, D].

    In this order: by the softmax of s_l + bias_l over the k real steps of the highest scores, or all if k is 0; if k is
    not 0, their mean; with relevance, the sum by the softmax of s_l over all real steps. The selection has no gradient.
    query: float32 [B, D]. bias: float32 [L] or None. mask: bool [B, L]. tables, ids: as of NativeHistory.
    """
    bias = tf.zeros([0]) if bias is None else bias
    kernel = load_kernels().recserve_dot_attention
    pooled, _ = kernel(query=query, bias=bias, mask=mask, tables=tables, ids=ids, k=k, relevance=relevance)
    return list(tf.unstack(tf.ensure_shape(pooled, [None, 1 + (k > 0) + relevance, query.shape[1]]), axis=1))


def native_dot_attention_of_candidates(
    query: tf.Tensor, vectors: tf.Tensor, bias: tf.Tensor | None, run_of_row: tf.Tensor, mask: tf.Tensor, k: int
) -> list[tf.Tensor]:
    """The first sums of native_dot_attention for rows with shared histories, without gradients. Each [B, D] as query.

    query [B, D] and vectors [U, L, D], float32 or bfloat16. run_of_row [B]: ascending. mask: bool [B, L], the same for
    all rows of a run.
    """
    bias = tf.zeros([0]) if bias is None else bias
    kernel = load_kernels().recserve_dot_attention_of_candidates
    pooled = kernel(query=query, vectors=vectors, bias=bias, run_of_row=run_of_row, mask=mask, k=k)
    return list(tf.unstack(tf.ensure_shape(pooled, [1 + (k > 0), None, query.shape[1]])))


@tf.RegisterGradient("RecserveDotAttention")  # type: ignore[misc]
def _dot_attention_gradient(op: Any, upstream: tf.Tensor, _: tf.Tensor) -> list[Any]:
    query, bias, mask, *rest = op.inputs
    tables, ids = rest[: len(rest) // 2], rest[len(rest) // 2 :]
    gradients = load_kernels().recserve_dot_attention_gradient(
        upstream=upstream, weights=op.outputs[1], query=query, mask=mask, tables=tables, ids=ids,
        k=op.get_attr("k"), relevance=op.get_attr("relevance"),
    )  # fmt: skip
    of_tables = [
        tf.IndexedSlices(values, rows, tf.shape(table))
        for table, rows, values in zip(tables, gradients.unique, gradients.sums, strict=True)
    ]
    of_bias = gradients.bias_gradient if bias.shape[0] else None
    return [gradients.query_gradient, of_bias, None, *of_tables, *[None] * len(ids)]
