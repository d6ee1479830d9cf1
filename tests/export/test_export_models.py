"""Every model and every option of attention and search exports, serves what it needs and nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import tensorflow as tf

from export.saved_model import ModelOptions, export_checkpoint
from export.triton_config import ServingOptions
from training.checkpoint import save_checkpoint
from training.distributed import Workers
from training.feature_spec import FeatureSpec
from training.models import build_model
from training.settings import ModelSettings, Settings
from training.step import TrainStep

HISTORY = 12
SMALL = ModelSettings(
    embedding_dim=4, stage_one_mlp_dims=(8,), stage_two_mlp_dims=(8,), aux_mlp_dims=(4,), long_seq_length=8, k=3
)
VARIANTS = {
    "din": {"model_type": "din"},
    "din_activation_unit": {"model_type": "din", "history_attention": "activation_unit"},
    "dien": {"model_type": "dien"},
    "dien_reference": {"model_type": "dien", "reference_compatible": True},
    "sim_hard": {"search": "hard"},
    "sim_projection": {"search_projection": True, "history_attention": "bilinear"},
    "sim_intervals": {"time_intervals": True, "history_attention": "multi_head"},
}


def with_timestamps(spec: FeatureSpec) -> FeatureSpec:
    raw = spec.to_dict()
    raw["feature_spec"]["timestamp_trgt"] = {"dtype": "int64"}
    raw["feature_spec"]["timestamp_pos"] = {"dtype": "int64", "dimensions": [HISTORY]}
    raw["channel_spec"]["target_timestamp"] = ["timestamp_trgt"]
    raw["channel_spec"]["history_timestamps"] = ["timestamp_pos"]
    return FeatureSpec.from_dict(raw)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_exports_with_parity(variant: str, spec_of, tmp_path: Path) -> None:
    spec = with_timestamps(spec_of()) if variant == "sim_intervals" else spec_of()
    settings = Settings(model=dataclasses.replace(SMALL, **VARIANTS[variant]))
    tf.random.set_seed(3)
    step = TrainStep(build_model(spec, settings.model), Workers(0, 1), settings.training)
    save_checkpoint(tmp_path / "c", step, spec, settings, 1, {"epoch": 1})
    done = export_checkpoint(
        tmp_path / "c", tmp_path / "repository", "m", ServingOptions(), ModelOptions(parity_rows=64)
    )
    assert done.parity.max_abs_difference < 1e-6
    assert done.parity.rank_rows == 64
    assert done.parity.rank_max_abs_difference < 1e-6
    config = (tmp_path / "repository" / "m" / "config.pbtxt").read_text()
    assert "item_id_neg" not in config
    assert ("timestamp_pos" in config) == (variant == "sim_intervals")
