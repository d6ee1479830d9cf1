"""Learning rate by step: a linear warmup, then constant, or falling to zero at the last step."""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from training.errors import SettingsError
from training.settings import TrainingSettings


def learning_rate_schedule(settings: TrainingSettings, total_steps: int | None) -> Callable[[tf.Tensor], tf.Tensor]:
    """step (from 1, float32 scalar) -> learning rate. total_steps: of the whole training, None if unknown.

    With w warmup steps and p = (step − w − 1) / (total − w), the share done since: `linear` is lr·(1 − p), `cosine`
    lr·(1 + cos πp)/2 (Loshchilov & Hutter 2017, eq. (5), one cycle). Raises SettingsError if a falling schedule has no
    total_steps, or fewer than warmup_steps.
    """
    rate, warmup, kind = settings.lr, settings.warmup_steps, settings.lr_schedule
    if kind != "constant" and total_steps is None:
        raise SettingsError(
            f"lr_schedule: got {kind}, but the number of training rows is unknown; add `rows: {{train: N}}` to the "
            "metadata of feature_spec.yaml, or use constant"
        )
    if total_steps is not None and warmup >= total_steps:
        raise SettingsError(f"warmup_steps: expected fewer than the {total_steps} steps of the training, got {warmup}")

    def schedule(step: tf.Tensor) -> tf.Tensor:
        factor = tf.minimum(step / (warmup + 1), 1.0)
        if kind != "constant" and total_steps is not None:
            done = tf.clip_by_value((step - warmup - 1) / (total_steps - warmup), 0.0, 1.0)
            factor *= 1.0 - done if kind == "linear" else 0.5 * (1.0 + tf.cos(math.pi * done))
        return rate * factor

    return schedule
