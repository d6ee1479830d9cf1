"""Evaluation over all rows and all ranks: exact ROC AUC, GAUC and log loss, and the scores behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from training.distributed import Workers
from training.errors import TrainingError
from training.input_pipeline import Batch
from training.metrics import finite_or_none, grouped_auc, log_loss, roc_auc
from training.models.base import CtrModel
from training.step import batch_signature

ScoringFunction = Callable[[Mapping[str, tf.Tensor]], tf.Tensor]
SCORES_FILE = "test_scores.npz"


@dataclass(frozen=True)
class Scores:
    """Rows of all ranks; of a dataset, in the order of its files.

    label [N] float32, logit [N] float32, user [N] int64 if the model has one.
    """

    label: np.ndarray
    logit: np.ndarray
    user: np.ndarray | None = None

    def taken(self, order: np.ndarray) -> Scores:
        """These rows, in this order."""
        return Scores(self.label[order], self.logit[order], None if self.user is None else self.user[order])

    def write(self, folder: Path, epoch: int) -> None:
        """Writes folder/test_scores.npz beside its final name, then renames it. epoch: the one that was scored."""
        path = folder / SCORES_FILE
        staged = path.with_name(f".{SCORES_FILE}.tmp")
        arrays: dict[str, Any] = {"label": self.label, "logit": self.logit, "epoch": np.int64(epoch)}
        if self.user is not None:
            arrays["user"] = self.user
        try:
            with staged.open("wb") as file:
                np.savez_compressed(file, **arrays)
            staged.replace(path)
        except OSError as error:
            staged.unlink(missing_ok=True)
            raise TrainingError(
                f"results_dir: cannot write {path}: {error.strerror}. Free space or choose another folder."
            ) from error


@dataclass(frozen=True)
class Evaluation:
    """gauc: None where rows have no user. NaN: not defined for these rows, such as an AUC of one class."""

    auc: float
    loss: float
    rows: int
    gauc: float | None = None

    def metrics(self, prefix: str) -> dict[str, float | None]:
        """`{prefix}_auc`, `{prefix}_loss` and, with users, `{prefix}_gauc`; None where not defined."""
        values = {"auc": self.auc, "loss": self.loss} | ({} if self.gauc is None else {"gauc": self.gauc})
        return {f"{prefix}_{name}": finite_or_none(value) for name, value in values.items()}


def scoring_function(model: CtrModel, xla: bool = False, dtype: tf.DType = tf.float32) -> ScoringFunction:
    """features -> logits [n] in float32, traced once for any number of rows (XLA compiles each number once).

    dtype: what to compute in. Evaluation takes float32, also under AMP: that is what export serves.
    """
    signature = batch_signature(model.served)[:1]
    score = tf.function(lambda features: model.call(features, training=False), signature, jit_compile=xla)
    trained_in, model.dtype = model.dtype, dtype
    try:
        traced: ScoringFunction = score.get_concrete_function()
        return traced
    finally:
        model.dtype = trained_in


def evaluate(
    model: CtrModel, score: ScoringFunction, batches: Iterable[Batch], workers: Workers
) -> tuple[Evaluation, Scores]:
    """Collective: every rank scores its rows, all get the metrics and the scores of all rows, whatever the ranks."""
    labels, logits, users, numbers = [], [], [], []
    for number, batch in enumerate(batches):
        if len(batch.label):
            numbers.append(np.full(len(batch.label), number))
            logits.append(score({f.name: batch.features[f.name] for f in model.served}))
            labels.append(batch.label)
            if model.user is not None:
                users.append(batch.features[model.user])
    user = None if model.user is None else joined(users, np.int64)
    scores = gathered(Scores(joined(labels), joined(logits), user), workers)
    # a batch is cut into the ranks' parts in their order, and here the ranks come one after another
    order = np.argsort(workers.gather_rows(joined(numbers, np.int64)), kind="stable")
    return measured(scores), scores.taken(order)


def gathered(scores: Scores, workers: Workers) -> Scores:
    """Collective: this rank's rows -> those of all ranks, one rank after another."""
    user = None if scores.user is None else workers.gather_rows(scores.user)
    return Scores(workers.gather_rows(scores.label), workers.gather_rows(scores.logit), user)


def measured(scores: Scores) -> Evaluation:
    """The metrics of these rows."""
    gauc = None if scores.user is None else grouped_auc(scores.label, scores.logit, scores.user)
    auc, loss = roc_auc(scores.label, scores.logit), log_loss(scores.label, scores.logit)
    return Evaluation(auc, loss, len(scores.label), gauc)


def joined(parts: Iterable[tf.Tensor | np.ndarray], dtype: type = np.float32) -> np.ndarray:
    """Parts [n_i] -> [n] of dtype; no part gives [0]."""
    return np.concatenate([np.empty(0, dtype), *(np.asarray(part, dtype) for part in parts)])
