"""Parts of a history that may come with fewer steps than the model was built for."""

from __future__ import annotations

import tensorflow as tf


def steps_of_history(values: tf.Tensor, steps: slice, total: int) -> tf.Tensor:
    """The steps of a left-padded history of `total` steps T, out of its newest t: values [B, t] -> [B, …].

    steps: slice(L), the long part; slice(L, None), the short one; or all. Histories of t < T steps are those whose
    oldest T − t are padding. Of these the long part leaves them out: it has max(t − (T − L), 1) steps. The short part
    has them, as zeros, since its number of steps is fixed. Of more steps than T the newest count. Never no steps at
    all, but one of padding instead: oneDNN ends the process over a matrix without elements.
    """
    if values.shape[1] == total:
        return values[:, steps]
    sent = tf.shape(values)[1]
    newest = values[:, tf.maximum(sent - total, 0) :]
    if steps.stop is not None:
        return _not_empty(newest[:, : tf.maximum(tf.shape(newest)[1] - (total - steps.stop), 0)])
    if not steps.start:
        return _not_empty(newest)
    short = total - steps.start
    newest = newest[:, tf.maximum(tf.shape(newest)[1] - short, 0) :]
    padded = tf.pad(newest, [[0, 0], [short - tf.shape(newest)[1], 0]])
    return tf.ensure_shape(padded, [None, short])


def _not_empty(values: tf.Tensor) -> tf.Tensor:
    """[B, t] -> [B, max(t, 1)]."""
    return tf.pad(values, [[0, 0], [tf.maximum(1 - tf.shape(values)[1], 0), 0]])
