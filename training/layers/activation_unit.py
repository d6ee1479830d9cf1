"""The activation unit of DIN (Zhou et al. 2018, section 4.3, figure 2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import tensorflow as tf

from training.layers.dense import Dense, affine, glorot_uniform
from training.layers.runs import Candidates, RowSharing
from training.native.activation_unit import (
    activation_unit_scores,
    activation_unit_scores_of_candidates,
    fits_activation_unit,
)


class ActivationUnit(tf.Module):
    """a_t = MLP([i, t, i − t, i∘t]) with sigmoid units: items [U, T, D], target [B, D] -> scores [B, T].

    runs: which rows share a history. mask [B, T]: the real steps; scores elsewhere mean nothing.
    [i, t, i−t, i∘t]·W = i·(W₁+W₃) + t·(W₂−W₃) + (i∘t)·W₄: the target's share is computed once per row, the item's
    once per run of rows with the same history, and only (i∘t)·W₄ once per step and row. Of a user's many candidates
    it is t·(diag(i)·W₄ + W₂ − W₃): one matrix for all steps, made once for the user.
    Unlike the paper, no outer product, and sigmoids instead of PReLU, as in the reference. The last layer has no bias:
    the scores go through a softmax, which does not see one.
    """

    def __init__(self, dim: int, hidden: Sequence[int], native: bool, name: str) -> None:
        super().__init__(name)
        self.native = native and fits_activation_unit(dim, hidden)
        self.kernel = tf.Variable(glorot_uniform((4 * dim, hidden[0])), name="kernel")
        self.bias = tf.Variable(tf.zeros([hidden[0]]), name="bias")
        self.hidden = [Dense(a, b, f"hidden_{i}") for i, (a, b) in enumerate(pairwise(hidden))]
        self.head = tf.Variable(glorot_uniform((hidden[-1], 1)), name="head")
        self.multiply_adds = 2 * dim * hidden[0] + sum(d.multiply_adds for d in self.hidden) + hidden[-1]  # a step
        self.user_multiply_adds = dim * hidden[0]  # of them, the item's share

    def __call__(self, items: tf.Tensor, target: tf.Tensor, runs: RowSharing, mask: tf.Tensor) -> tf.Tensor:
        if isinstance(runs, Candidates) and not runs.are_single:
            return self._of_candidates(items, target, runs, mask)
        w_item, w_target, w_difference, w_product = tf.split(self.kernel, 4, axis=0)
        per_row = affine(target, w_target - w_difference, self.bias, self.native)
        per_step = affine(items, w_item + w_difference, native=self.native)
        if self.native:
            weights = (w_product, *self._later_weights())
            return activation_unit_scores(items, per_step, target, per_row, weights, runs.run_of_row, mask)
        items, per_step = runs.to_rows(items), runs.to_rows(per_step)
        x = per_step + affine(items * target[:, tf.newaxis], w_product)
        return self._from_first(tf.sigmoid(x + per_row[:, tf.newaxis]))

    def _of_candidates(self, items: tf.Tensor, target: tf.Tensor, runs: Candidates, mask: tf.Tensor) -> tf.Tensor:
        """The same with items [U, T, D] of users, target [B, D] of their candidates."""
        if self.native:
            w_item, w_target, w_difference, w_product = tf.split(self.kernel, 4, axis=0)
            per_step = affine(items, w_item + w_difference, self.bias)
            weights = (w_product, w_target - w_difference, *self._later_weights())
            return activation_unit_scores_of_candidates(items, per_step, target, weights, runs.run_of_row, mask)
        w_item, w_target, w_difference, w_product = tf.split(tf.cast(self.kernel, items.dtype), 4, axis=0)
        users, steps, _ = tf.unstack(tf.shape(items))
        units = int(self.kernel.shape[1])
        columns = tf.transpose(items, [0, 2, 1])[..., tf.newaxis]  # [U, D, T, 1]
        kernels = columns * w_product[:, tf.newaxis] + (w_target - w_difference)[:, tf.newaxis]
        kernels = tf.reshape(kernels, [users, items.shape[2], steps * units])
        per_user = tf.reshape(affine(items, w_item + w_difference, self.bias), [users, steps * units])
        x = tf.sigmoid(runs.add(runs.product(target, kernels), per_user))  # [B, T · units]
        return self._from_first(tf.reshape(x, [users * runs.each, steps, units]))

    def _later_weights(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Behind the first layer, as the kernels take them."""
        return self.hidden[0].kernel, self.hidden[0].bias, tf.squeeze(self.head, axis=1)

    def _from_first(self, x: tf.Tensor) -> tf.Tensor:
        """The first layer's units [B, T, M] -> scores [B, T]. On two axes, where operations are fused."""
        rows, steps = tf.shape(x)[0], tf.shape(x)[1]
        x = tf.reshape(x, [-1, x.shape[2]])
        for dense in self.hidden:
            x = tf.sigmoid(dense(x))
        return tf.reshape(affine(x, self.head), [rows, steps])
