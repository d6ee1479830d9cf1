"""Small specifications, rows and weights for the models' tests: any number of user and item features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from training.feature_spec import FeatureSpec
from training.models import build_model
from training.models.base import CtrModel
from training.settings import ModelSettings

KINDS = ["sim", "din", "dien"]
HISTORY, LONG, K = 12, 8, 3
ITEMS = {"item_id": 60, "brand": 11, "cat_id": 4}  # the category last, as hard search wants it
USERS = {"user_id": 20, "country": 5, "age": None}  # None: a number
LATEST = 4_000_000
Columns = dict[str, np.ndarray]


def settings_of(model_type: str, **options: Any) -> ModelSettings:
    small = {
        "embedding_dim": 4, "stage_one_mlp_dims": (8,), "stage_two_mlp_dims": (8, 6), "aux_mlp_dims": (5, 4),
        "activation_unit_dims": (7, 5), "attention_heads": 2, "k": K, "long_seq_length": LONG,
    }  # fmt: skip
    return ModelSettings(model_type=model_type, **{**small, **options})


def raw_spec_of(items: int = 2, users: tuple[str, ...] = ("user_id",), times: bool = False) -> dict[str, Any]:
    """items: how many features an item has; the last is its category."""
    bases = [*list(ITEMS)[: items - 1], "cat_id"]
    features: dict[str, Any] = {"label": {"dtype": "bool"}}
    for name in users:
        size = USERS[name]
        features[name] = {"dtype": "float32"} if size is None else {"dtype": "int64", "cardinality": size}
    for suffix in ("trgt", "pos", "neg"):
        for base in bases:
            features[f"{base}_{suffix}"] = {"dtype": "int64", "cardinality": ITEMS[base]}
            if suffix != "trgt":
                features[f"{base}_{suffix}"]["dimensions"] = [HISTORY]
    channels = {
        "label": ["label"],
        "user_features": list(users),
        "target_item_features": [f"{b}_trgt" for b in bases],
        "positive_history": [f"{b}_pos" for b in bases],
        "negative_history": [f"{b}_neg" for b in bases],
    }
    if times:
        features["time_trgt"] = {"dtype": "int64"}
        features["time_pos"] = {"dtype": "int64", "dimensions": [HISTORY]}
        channels |= {"target_timestamp": ["time_trgt"], "history_timestamps": ["time_pos"]}
    source = {"train": [{"type": "tfrecord", "features": list(features), "files": ["train.tfrecord"]}]}
    return {"feature_spec": features, "source_spec": source, "channel_spec": channels, "metadata": {}}


def spec_of(items: int = 2, users: tuple[str, ...] = ("user_id",), times: bool = False) -> FeatureSpec:
    return FeatureSpec.from_dict(raw_spec_of(items, users, times))


def columns_of(spec: FeatureSpec, rows: int, seed: int = 0) -> Columns:
    """Left-padded histories of every length, shared by up to three rows that stand together."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(rows), rng.integers(1, 4, rows))[:rows]
    padding = rng.integers(0, HISTORY + 1, rows)[owner]
    present = np.arange(HISTORY) >= padding[:, np.newaxis]
    columns = {}
    for name, feature in spec.features.items():
        if name == "label":
            columns[name] = rng.integers(0, 2, rows)
        elif name == "time_trgt":
            columns[name] = np.full(rows, LATEST)
        elif name == "time_pos":
            columns[name] = np.sort(rng.integers(1, LATEST, (rows, HISTORY)), axis=1)[owner] * present
        elif feature.cardinality is None:
            columns[name] = rng.standard_normal(rows)
        elif feature.dimensions:
            columns[name] = rng.integers(1, feature.cardinality + 1, (rows, HISTORY))[owner] * present
        else:
            columns[name] = rng.integers(1, feature.cardinality + 1, rows)
    return columns


def tensors(columns: Mapping[str, np.ndarray], model: CtrModel) -> dict[str, tf.Tensor]:
    """As the input pipeline gives them: ids int32, numbers float32."""
    return {
        f.name: tf.constant(columns[f.name], tf.float32 if f.cardinality is None else tf.int32) for f in model.trained
    }


def label_of(columns: Mapping[str, np.ndarray]) -> tf.Tensor:
    return tf.constant(columns["label"], tf.float32)


def model_of(
    spec: FeatureSpec, settings: ModelSettings, native: bool = False, dtype: tf.DType = tf.float32, scale: float = 0.4
) -> CtrModel:
    """With weights large enough that every part of the model matters; the same for the same settings."""
    model = build_model(spec, settings, dtype, native)
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0.0, scale, variable.shape))
    for table in tables_of(model):
        table.assign(tf.concat([tf.zeros_like(table[:1]), table[1:]], axis=0))
    return model


def tables_of(model: Any) -> list[tf.Variable]:
    tables = [t.table for t in (*model.user_tables.values(), *model.item_tables)]
    return [*tables, model.times.table.table] if getattr(model, "times", None) is not None else tables


def losses_and_gradients(model: CtrModel, columns: Columns) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """The loss terms with the logits, and each variable's gradient as an array, without the padding rows of tables."""
    with tf.GradientTape() as tape:
        loss = model.loss_terms(tensors(columns, model), label_of(columns))
    gradients = tape.gradient(loss.total, model.trainable_variables)
    arrays = [np.array(tf.convert_to_tensor(g)) for g in gradients]
    for variable, array in zip(model.trainable_variables, arrays, strict=True):
        if any(variable is table for table in tables_of(model)):
            array[0] = 0
    return {"logits": loss.logits.numpy(), **{n: t.numpy() for n, t in loss.terms.items()}}, arrays
