"""How a target attends to a history: the kinds that `--history_attention` names."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from training.layers.activation_unit import ActivationUnit
from training.layers.dense import Dense, glorot_uniform
from training.layers.history import History, masked_softmax
from training.layers.runs import RowSharing, every_row
from training.native.history import OnePassHistory


class TargetAttention(tf.Module):
    """target [B, D], history of L steps, width D' -> scores [B, Q, L]; pooled [B, Q, D'] -> output [B, D'].

    dot and activation_unit need D' = D.

    kind:
      dot              s_l = t·i_l, the reference's. Q = 1.
      bilinear         s_l = (t·W)·i_l with W [D, D'] from the identity, Luong et al. 2015, "general". Q = 1.
      activation_unit  s_l = MLP([i_l, t, i_l − t, i_l∘t]), DIN (Zhou et al. 2018), section 4.3. Q = 1.
      multi_head       s_hl = (t·W_h)·i_l/√D' for each of Q = heads, outputs joined by W_o: SIM (Pi et al. 2020),
                       eq. (4)-(5); the values' projections are part of W_o, as both are linear.
    Scores become weights by a masked softmax (DIN's paper leaves them as they are; the reference takes softmax).
    position_bias: adds b_l, learned from 0, so that recent steps may count more; steps are counted from the newest.
    """

    def __init__(
        self,
        kind: str,
        dim: int,
        history_dim: int,
        steps: int,
        heads: int,
        unit_dims: Sequence[int],
        position_bias: bool,
        native: bool,
        name: str,
    ) -> None:
        super().__init__(name)
        self.kind, self.native = kind, native
        self.queries = heads if kind == "multi_head" else 1
        self._dim = history_dim
        if kind == "activation_unit":
            self.unit = ActivationUnit(dim, unit_dims, native, "unit")
        if kind == "bilinear":
            self.kernel = tf.Variable(tf.eye(dim, history_dim), name="kernel")
        if kind == "multi_head":
            self.kernel = tf.Variable(glorot_uniform((dim, heads * history_dim)), name="kernel")
            self.output = Dense(heads * history_dim, history_dim, "output")
        per_step = self.unit.multiply_adds if kind == "activation_unit" else self.queries * history_dim
        self.multiply_adds = steps * (per_step + self.queries * history_dim)  # a row: scores and sums
        self.user_multiply_adds = steps * self.unit.user_multiply_adds if kind == "activation_unit" else 0
        self.bias = tf.Variable(tf.zeros([self.queries, steps]), name="position_bias") if position_bias else None

    def attend(self, target: tf.Tensor, history: History, mask: tf.Tensor, runs: RowSharing) -> tf.Tensor:
        """The history summed by the weights of its steps, [B, D']. Arguments as of `scores`."""
        if self.kind == "dot" and isinstance(history, OnePassHistory):
            return self.attend_in_one_pass(target, history, mask)[0]
        return self.join(history.pool(self.weights(self.scores(target, history, mask, runs=runs), mask)))

    def attend_in_one_pass(
        self,
        target: tf.Tensor,
        history: OnePassHistory,
        mask: tf.Tensor,
        k: int = 0,
        relevance: bool = False,
    ) -> list[tf.Tensor]:
        """Of the kind dot: the sums of NativeHistory.attend, each [B, D]."""
        bias = self._newest_bias(tf.shape(mask)[1] if mask.shape[1] is None else int(mask.shape[1]))
        return history.attend(target, None if bias is None else tf.squeeze(bias, axis=0), mask, k, relevance)

    def scores(
        self,
        target: tf.Tensor,
        history: History,
        mask: tf.Tensor,
        products: tf.Tensor | None = None,
        runs: RowSharing | None = None,
    ) -> tf.Tensor:
        """float32 [B, Q, L]; padded steps, where mask [B, L] is false, mean nothing.

        A history with fewer steps than the layer's is its newest part. runs: which rows share one; by default none.
        products: t·i_l [B, 1, L] if they are there already; only "dot" can use them.
        """
        if products is not None:
            scores = products
        elif self.kind == "activation_unit":
            runs = runs or every_row(tf.shape(target)[0])
            scores = tf.cast(self.unit(history.vectors, target, runs, mask), tf.float32)[:, tf.newaxis]
        else:
            scores = history.scores(self.query(target))
        bias = self._newest_bias(tf.shape(scores)[2])
        return scores if bias is None else scores + bias

    def _newest_bias(self, steps: tf.Tensor | int) -> tf.Tensor | None:
        """[Q, steps]: of the newest steps."""
        return None if self.bias is None else self.bias[:, self.bias.shape[1] - steps :]

    def query(self, target: tf.Tensor) -> tf.Tensor:
        """target [B, D] -> queries [B, Q, D']."""
        if self.kind == "dot":
            return target[:, tf.newaxis]
        queries = tf.matmul(target, tf.cast(self.kernel, target.dtype))
        if self.kind == "multi_head":
            queries *= self._dim**-0.5
        return tf.reshape(queries, [-1, self.queries, self._dim])

    def weights(self, scores: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """scores [B, Q, L], mask [B, L] -> float32 [B, Q, L]."""
        return masked_softmax(scores, mask, self.native)

    def join(self, pooled: tf.Tensor) -> tf.Tensor:
        """[B, Q, D'] -> [B, D']."""
        flat = tf.reshape(pooled, [-1, self.queries * self._dim])
        return self.output(flat) if self.kind == "multi_head" else flat
