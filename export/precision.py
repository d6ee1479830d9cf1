"""What serving in bfloat16 costs: the same rows in float32 and in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from export.errors import ExportError
from export.parity import parity_inputs
from training.evaluation import scoring_function
from training.feature_spec import FeatureSpec
from training.input_pipeline import Dataset
from training.metrics import roc_auc
from training.models.base import CtrModel, Features

ROWS_AT_A_TIME = 4096
Batch = tuple[Features, np.ndarray | None]


@dataclass(frozen=True)
class PrecisionLoss:
    """Absolute differences of the probabilities, and both AUCs where the rows have labels of both classes."""

    rows: int
    max_abs_difference: float
    mean_abs_difference: float
    auc_float32: float | None
    auc_bfloat16: float | None


def precision_loss(model: CtrModel, spec: FeatureSpec, held_out: Path | None, random_rows: int) -> PrecisionLoss:
    """held_out: the folder of a dataset like the one of training, whose test rows are scored; None: random rows.

    Raises ExportError if the dataset is of another layout, FeatureSpecError or DataError if it cannot be read.
    """
    score = [scoring_function(model, dtype=dtype) for dtype in (tf.float32, tf.bfloat16)]
    batches = _random_rows(model, random_rows) if held_out is None else _test_rows(model, spec, held_out)
    logits: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for features, label in batches:
        logits.append(np.stack([s(features).numpy() for s in score]))
        if label is not None:
            labels.append(label)
    both = np.concatenate(logits, axis=1)  # [2, rows]
    difference = np.abs(np.diff(tf.sigmoid(both).numpy(), axis=0))
    aucs = [roc_auc(np.concatenate(labels), values) for values in both] if labels else [np.nan, np.nan]
    exact, low = (None if np.isnan(auc) else float(auc) for auc in aucs)
    return PrecisionLoss(both.shape[1], float(difference.max()), float(difference.mean()), exact, low)


def _test_rows(model: CtrModel, spec: FeatureSpec, folder: Path) -> Iterator[Batch]:
    held_out = FeatureSpec.load(folder / "feature_spec.yaml", check_files=True)
    for feature in model.served:
        if held_out.features.get(feature.name) != feature:
            raise ExportError(
                f"held_out_data {folder}: feature {feature.name} is {held_out.features.get(feature.name)}; the "
                f"checkpoint has {spec.features[feature.name]}. Name the dataset that the model was trained on."
            )
    for batch in Dataset(held_out, "test", model.served, model.label, ROWS_AT_A_TIME).batches():
        yield batch.features, batch.label.numpy()


def _random_rows(model: CtrModel, rows: int) -> Iterator[Batch]:
    inputs = parity_inputs(model.served, rows)
    features = {}
    for f in model.served:
        values = inputs[f.name] if f.is_sequence else inputs[f.name][:, 0]
        if f.cardinality is None:
            features[f.name] = tf.constant(values, tf.float32)
        else:
            features[f.name] = tf.constant(np.where(values <= f.cardinality, values, 0), tf.int32)
    yield features, None
