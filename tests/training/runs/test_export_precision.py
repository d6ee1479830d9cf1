"""What bfloat16 costs, on the held-out rows of a trained model's own dataset."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from export.errors import ExportError
from export.precision import precision_loss
from training.checkpoint import open_checkpoint
from training.feature_spec import FeatureSpec


def test_the_held_out_rows_give_both_aucs(fast_dataset: Path, tmp_path: Path, train, log_of) -> None:
    options = ("--global_batch_size", 400, "--epochs", 1, "--model_type", "din")
    train(fast_dataset, tmp_path, *options, "--save_checkpoint_path", tmp_path / "ck")
    checkpoint = open_checkpoint(tmp_path / "ck")
    model = checkpoint.restore_model()
    loss = precision_loss(model, checkpoint.spec, fast_dataset, 64)
    assert loss.rows == checkpoint.metrics["rows"]["test"]
    assert loss.auc_float32 == pytest.approx(log_of(tmp_path)[-1]["data"]["test_auc"], abs=1e-6)
    assert loss.auc_bfloat16 == pytest.approx(loss.auc_float32, abs=0.02)
    assert 0 < loss.mean_abs_difference < loss.max_abs_difference < 0.05

    other = tmp_path / "other"
    shutil.copytree(fast_dataset, other)
    raw = FeatureSpec.load(other / "feature_spec.yaml").to_dict()
    for name in ("item_id_trgt", "item_id_pos", "item_id_neg"):
        raw["feature_spec"][name]["cardinality"] += 1
    FeatureSpec.from_dict(raw, other).save(other / "feature_spec.yaml")
    with pytest.raises(ExportError, match=r"held_out_data .*feature item_id_trgt .*Name the dataset that the model"):
        precision_loss(model, checkpoint.spec, other, 64)
