"""Checkpoints of small, untrained SIM models: export does not care how good they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from training.checkpoint import save_checkpoint
from training.distributed import Workers
from training.feature_spec import FeatureSpec
from training.models import build_model
from training.settings import ModelSettings, Settings
from training.step import TrainStep

HISTORY = 12
SETTINGS = Settings(
    model=ModelSettings(
        embedding_dim=4, stage_one_mlp_dims=(8,), stage_two_mlp_dims=(8,), aux_mlp_dims=(4,), long_seq_length=8, k=3
    )
)


def sim_spec(item_dtype: str = "int64") -> FeatureSpec:
    cardinalities = {"user_id": 9, "item_id": 30, "cat_id": 5}
    features: dict = {"label": {"dtype": "bool"}, "user_id": {"dtype": "int64", "cardinality": 9}}
    for suffix in ("trgt", "pos", "neg"):
        for base in ("item_id", "cat_id"):
            features[f"{base}_{suffix}"] = {"dtype": item_dtype, "cardinality": cardinalities[base]}
            if suffix != "trgt":
                features[f"{base}_{suffix}"]["dimensions"] = [HISTORY]
    chunk = {"type": "tfrecord", "features": list(features), "files": ["test.tfrecord"]}
    channels = {
        "label": ["label"],
        "user_features": ["user_id"],
        "target_item_features": ["item_id_trgt", "cat_id_trgt"],
        "positive_history": ["item_id_pos", "cat_id_pos"],
        "negative_history": ["item_id_neg", "cat_id_neg"],
    }
    return FeatureSpec.from_dict(
        {"feature_spec": features, "source_spec": {"test": [chunk]}, "channel_spec": channels, "metadata": {}}
    )


def make_checkpoint(folder: Path, spec: FeatureSpec, poison: bool = False) -> Path:
    tf.random.set_seed(7)
    step = TrainStep(build_model(spec, SETTINGS.model), Workers(0, 1), SETTINGS.training)
    if poison:
        step.model.stage_two.head.bias.assign([float("nan")])
    save_checkpoint(folder, step, spec, SETTINGS, 1, {"epoch": 1, "test_auc": 0.75, "rows": {"train": 10, "test": 4}})
    return folder


@pytest.fixture(scope="session")
def checkpoint_of() -> Callable[..., Path]:
    return make_checkpoint


@pytest.fixture(scope="session")
def spec_of() -> Callable[..., FeatureSpec]:
    return sim_spec


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), sim_spec())
