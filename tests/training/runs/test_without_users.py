"""A dataset that knows no users: every model trains, is evaluated and exports without them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from export.saved_model import ModelOptions, export_checkpoint
from export.triton_config import ServingOptions
from training.errors import SettingsError
from training.feature_spec import FeatureSpec

OPTIONS = ("--global_batch_size", 400, "--epochs", 1)
SERVED = ["item_id_trgt", "cat_id_trgt", "item_id_pos", "cat_id_pos"]


def without_users(dataset: Path, folder: Path, channel: list[str] | None) -> Path:
    """A copy whose channel user_features is `channel`; None: it is missing. The files still have the column."""
    shutil.copytree(dataset, folder)
    raw = FeatureSpec.load(folder / "feature_spec.yaml").to_dict()
    del raw["channel_spec"]["user_features"]
    if channel is not None:
        raw["channel_spec"]["user_features"] = channel
    FeatureSpec.from_dict(raw, folder).save(folder / "feature_spec.yaml")
    return folder


@pytest.mark.parametrize(("kind", "channel"), [("sim", []), ("din", None), ("dien", [])])
def test_a_model_without_users_trains_scores_and_exports(
    fast_dataset: Path, tmp_path: Path, train, log_of, kind: str, channel: list[str] | None
) -> None:
    dataset = without_users(fast_dataset, tmp_path / "data", channel)
    short = ("--long_seq_length", 12) if kind != "din" else ()
    train(dataset, tmp_path, *OPTIONS, *short, "--model_type", kind, "--save_checkpoint_path", tmp_path / "ck")
    summary = log_of(tmp_path)[-1]["data"]
    assert 0 < summary["test_auc"] < 1
    assert "test_gauc" not in summary
    assert sorted(np.load(tmp_path / "results" / "test_scores.npz").files) == ["epoch", "label", "logit"]
    done = export_checkpoint(
        tmp_path / "ck", tmp_path / "repository", "m", ServingOptions(), ModelOptions(parity_rows=64)
    )
    assert max(done.parity.max_abs_difference, done.parity.rank_max_abs_difference) < 1e-6
    config = (tmp_path / "repository" / "m" / "config.pbtxt").read_text()
    assert [name for name in ("user_id", *SERVED) if f'"{name}"' in config] == SERVED


def test_without_users_gauc_chooses_no_epoch(validated_dataset: Path, tmp_path: Path, train) -> None:
    dataset = without_users(validated_dataset, tmp_path / "data", [])
    with pytest.raises(SettingsError, match="best_metric: got gauc, but the model has no user feature"):
        train(dataset, tmp_path, *OPTIONS, "--model_type", "din", "--best_metric", "gauc")
