"""Evaluation over all rows and all ranks: exact ROC AUC and log loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from training.distributed import Workers
from training.input_pipeline import Batch
from training.metrics import log_loss, roc_auc
from training.models.base import CtrModel
from training.step import batch_signature

ScoringFunction = Callable[[Mapping[str, tf.Tensor]], tf.Tensor]


@dataclass(frozen=True)
class Evaluation:
    auc: float
    loss: float
    rows: int


def scoring_function(model: CtrModel, xla: bool = False) -> ScoringFunction:
    """features -> logits [n] in float32, traced once for any number of rows (XLA compiles each number once).

    Always float32, also under AMP: that is what export serves.
    """
    signature = batch_signature(model.served)[:1]
    score = tf.function(lambda features: model.call(features, training=False), signature, jit_compile=xla)
    dtype, model.dtype = model.dtype, tf.float32
    try:
        traced: ScoringFunction = score.get_concrete_function()
        return traced
    finally:
        model.dtype = dtype


def evaluate(model: CtrModel, score: ScoringFunction, batches: Iterable[Batch], workers: Workers) -> Evaluation:
    """Collective: every rank scores its rows, all get the metrics of all rows."""
    labels, logits = [np.empty(0, np.float32)], [np.empty(0, np.float32)]
    for batch in batches:
        if len(batch.label):
            logits.append(score({f.name: batch.features[f.name] for f in model.served}).numpy())
            labels.append(batch.label.numpy())
    return measured(np.concatenate(labels), np.concatenate(logits), workers)


def measured(labels: np.ndarray, logits: np.ndarray, workers: Workers) -> Evaluation:
    """Metrics of the rows of all ranks. labels, logits: this rank's, [n]."""
    labels, logits = workers.gather_rows(labels), workers.gather_rows(logits)
    return Evaluation(roc_auc(labels, logits), log_loss(labels, logits), len(labels))
