"""Optimizers over plain variables, dense gradients and rows of tables, on TensorFlow's fused kernels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeAlias

import tensorflow as tf

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7
Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices
Schedule = Callable[[tf.Tensor], tf.Tensor]


class Optimizer(tf.Module):
    """One update of all variables. learning_rate: step number (from 1, float32) -> rate.

    weight_decay: decoupled (Loshchilov & Hutter 2019): before the update, each weight loses the share lr·weight_decay.
    Gradients are dense float32 or IndexedSlices whose ids do not repeat.
    """

    def __init__(self, name: str, learning_rate: Schedule, weight_decay: float) -> None:
        super().__init__(name)
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.steps = tf.Variable(0, dtype=tf.int64, trainable=False, name="steps")

    def apply(self, variables: Sequence[tf.Variable], gradients: Sequence[Gradient]) -> None:
        """variables: those of the constructor, in the same order."""
        step = tf.cast(self.steps.assign_add(1), tf.float32)
        rate = self.learning_rate(step)
        for number, (variable, gradient) in enumerate(zip(variables, gradients, strict=True)):
            if isinstance(gradient, tf.IndexedSlices):
                self.update_rows(number, variable, gradient, rate, step)
                continue
            if self.weight_decay:
                variable.assign_sub(rate * self.weight_decay * variable)
            self.update(number, variable, gradient, rate, step)

    @abstractmethod
    def update(self, number: int, variable: tf.Variable, gradient: tf.Tensor, rate: tf.Tensor, step: tf.Tensor) -> None:
        """A dense gradient."""

    def update_rows(
        self, number: int, variable: tf.Variable, gradient: tf.IndexedSlices, rate: tf.Tensor, step: tf.Tensor
    ) -> None:
        """A table's gradient. By default as if the other rows had gradient 0: then they still move and decay."""
        dense = tf.scatter_nd(gradient.indices[:, tf.newaxis], gradient.values, variable.shape)
        if self.weight_decay:
            variable.assign_sub(rate * self.weight_decay * variable)
        self.update(number, variable, dense, rate, step)


class Adam(Optimizer):
    """Adam, Kingma & Ba 2015, algorithm 1 (with ε̂ as in its section 2): one fused update per variable."""

    def __init__(self, variables: Sequence[tf.Variable], learning_rate: Schedule, weight_decay: float) -> None:
        super().__init__("adam", learning_rate, weight_decay)
        self.first = [tf.Variable(tf.zeros_like(v), trainable=False, name="m") for v in variables]
        self.second = [tf.Variable(tf.zeros_like(v), trainable=False, name="v") for v in variables]

    def update(self, number: int, variable: tf.Variable, gradient: tf.Tensor, rate: tf.Tensor, step: tf.Tensor) -> None:
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle, m=self.first[number].handle, v=self.second[number].handle,
            beta1_power=tf.pow(BETA_1, step), beta2_power=tf.pow(BETA_2, step), lr=rate,
            beta1=BETA_1, beta2=BETA_2, epsilon=EPSILON, grad=gradient, use_locking=True,
        )  # fmt: skip


class LazyAdam(Adam):
    """Adam that leaves alone what a batch did not look up: no moments decay and no weight moves in other rows."""

    def update_rows(
        self, number: int, variable: tf.Variable, gradient: tf.IndexedSlices, rate: tf.Tensor, step: tf.Tensor
    ) -> None:
        ids, values = gradient.indices, gradient.values
        first = BETA_1 * tf.gather(self.first[number], ids) + (1 - BETA_1) * values
        second = BETA_2 * tf.gather(self.second[number], ids) + (1 - BETA_2) * tf.square(values)
        corrected = rate * tf.sqrt(1 - tf.pow(BETA_2, step)) / (1 - tf.pow(BETA_1, step))
        change = corrected * first / (tf.sqrt(second) + EPSILON)
        if self.weight_decay:
            change += rate * self.weight_decay * tf.gather(variable, ids)
        self.first[number].scatter_update(tf.IndexedSlices(first, ids))
        self.second[number].scatter_update(tf.IndexedSlices(second, ids))
        variable.scatter_sub(tf.IndexedSlices(change, ids))


class Sgd(Optimizer):
    """w ← w − lr·g. Tables change in the rows of the batch only."""

    def __init__(self, variables: Sequence[tf.Variable], learning_rate: Schedule, weight_decay: float) -> None:
        super().__init__("sgd", learning_rate, weight_decay)

    def update(self, number: int, variable: tf.Variable, gradient: tf.Tensor, rate: tf.Tensor, step: tf.Tensor) -> None:
        variable.assign_sub(rate * gradient)

    def update_rows(
        self, number: int, variable: tf.Variable, gradient: tf.IndexedSlices, rate: tf.Tensor, step: tf.Tensor
    ) -> None:
        change = rate * gradient.values
        if self.weight_decay:
            change += rate * self.weight_decay * tf.gather(variable, gradient.indices)
        variable.scatter_sub(tf.IndexedSlices(change, gradient.indices))


KINDS: dict[str, type[Adam] | type[LazyAdam] | type[Sgd]] = {"adam": Adam, "lazy_adam": LazyAdam, "sgd": Sgd}
