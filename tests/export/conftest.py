"""Checkpoints of small, untrained SIM models: export does not care how good they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from tests.amazon_layout import amazon_layout
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
    layout = amazon_layout({"user_id": 9, "item_id": 30, "cat_id": 5}, HISTORY, item_dtype)
    chunk = {"type": "tfrecord", "features": list(layout["feature_spec"]), "files": ["test.tfrecord"]}
    return FeatureSpec.from_dict({**layout, "source_spec": {"test": [chunk]}, "metadata": {}})


def make_checkpoint(folder: Path, spec: FeatureSpec, poison: bool = False, settings: Settings = SETTINGS) -> Path:
    tf.random.set_seed(7)
    step = TrainStep(build_model(spec, settings.model), Workers(0, 1), settings.training)
    if poison:
        step.model.stage_two.head.bias.assign([float("nan")])
    save_checkpoint(folder, step, spec, settings, 1, {"epoch": 1, "test_auc": 0.75, "rows": {"train": 10, "test": 4}})
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
