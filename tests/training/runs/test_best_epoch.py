"""The best epoch, early stopping, and which checkpoint is taken and kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from training.best import BestEpoch
from training.checkpoint import open_checkpoint
from training.checkpoint_folders import checkpoint_folders, folder_name, position, prune, write_best
from training.errors import CheckpointError, SettingsError
from training.evaluation import scoring_function
from training.feature_spec import FeatureSpec
from training.input_pipeline import Dataset

SHORT = ("--model_type", "din", "--global_batch_size", 64)


def folders(path: Path) -> list[str]:
    return [f.name for f in checkpoint_folders(path)]


def test_a_metric_that_does_not_improve_stops_the_run_and_the_first_epoch_is_the_best(
    validated_dataset: Path, tmp_path: Path, train, log_of
) -> None:
    """Learning rate 0: all epochs are equal."""
    checkpoints = tmp_path / "ck"
    save = ("--save_checkpoint_path", checkpoints)
    options = (*SHORT, "--lr", 0, "--epochs", 9, "--early_stopping_patience", 3)
    result = train(validated_dataset, tmp_path, *options, *save)
    assert "best epoch by validation auc: 1" in result.stdout
    assert "stopped early" in result.stdout
    assert folders(checkpoints) == ["epoch-0001", "epoch-0003", "epoch-0004"]
    best = json.loads((checkpoints / "best.json").read_text())
    assert (best["epoch"], best["metric"]) == (1, "auc")
    assert open_checkpoint(checkpoints).epoch == 1
    assert open_checkpoint(checkpoints, newest=True).epoch == 4
    epoch, *_, summary = [line["data"] for line in log_of(tmp_path) if len(line["step"]) < 2]
    assert {"validation_auc", "validation_gauc", "validation_loss"} <= set(epoch)
    assert epoch["validation_auc"] == pytest.approx(best["value"])
    assert summary["best_epoch"] == 1
    assert summary["best_test_auc"] == epoch["test_auc"]

    again = train(validated_dataset, tmp_path, *options, *save, "--load_checkpoint_path", checkpoints)
    assert "nothing left to train: early stopping has ended it" in again.stdout


def test_the_scores_that_are_written_are_those_of_the_best_epoch_also_after_a_resume(
    validated_dataset: Path, tmp_path: Path, train
) -> None:
    """One epoch that learns; then a step size that spoils the model. The second run writes into its own folders."""
    first, second = tmp_path / "first", tmp_path / "second"
    options = (*SHORT, "--best_metric", "loss")
    train(validated_dataset, first, *options, "--epochs", 1, "--save_checkpoint_path", first / "ck")
    resume = ("--load_checkpoint_path", first / "ck", "--save_checkpoint_path", second / "ck")
    train(validated_dataset, second, *options, "--epochs", 3, "--lr", 30, *resume)
    assert folders(second / "ck") == ["epoch-0001", "epoch-0002", "epoch-0003"]
    best = open_checkpoint(second / "ck")
    assert best.epoch == 1
    with np.load(second / "results" / "test_scores.npz", allow_pickle=False) as written:
        scores = dict(written)
    assert scores["epoch"] == 1
    assert (scores["label"].dtype, scores["logit"].dtype, scores["user"].dtype) == (np.float32, np.float32, np.int64)
    model = best.restore_model()
    score = scoring_function(model)
    spec = FeatureSpec.load(validated_dataset / "feature_spec.yaml")
    batches = list(Dataset(spec, "test", model.served, model.label, 1000).batches())
    expected = np.concatenate([score({f.name: b.features[f.name] for f in model.served}) for b in batches])
    np.testing.assert_allclose(scores["logit"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(scores["user"], np.concatenate([b.features["user_id"] for b in batches]))


def test_early_stopping_without_a_validation_mapping_says_how_to_make_one(
    fast_dataset: Path, tmp_path: Path, train
) -> None:
    with pytest.raises(SettingsError, match=r"early_stopping_patience: got 2.*preprocess --validation_split"):
        train(fast_dataset, tmp_path, *SHORT, "--early_stopping_patience", 2)


def test_lower_is_better_for_the_loss_and_undefined_metrics_do_not_count() -> None:
    best = BestEpoch("loss", 2)
    for epoch, value in enumerate((0.7, 0.5, 0.6, None), start=1):
        best = best.after(epoch, {"validation_loss": value})
    assert (best.epoch, best.value) == (2, 0.5)
    assert [best.is_time_to_stop(done) for done in (3, 4)] == [False, True]
    assert not BestEpoch("loss", 0).is_time_to_stop(100)


def test_pruning_keeps_the_newest_two_the_best_and_a_newer_interrupted_epoch(tmp_path: Path) -> None:
    for epoch, step in ((1, 0), (2, 0), (3, 0), (3, 5), (4, 0), (4, 7), (4, 9)):
        (tmp_path / folder_name(epoch, step)).mkdir()
    write_best(tmp_path, {"epoch": 2, "metric": "auc", "value": 0.5})
    prune(tmp_path)
    assert folders(tmp_path) == ["epoch-0002", "epoch-0003", "epoch-0004", "epoch-0005-step-000009"]
    assert [position(f) for f in checkpoint_folders(tmp_path)] == [(2, 0), (3, 0), (4, 0), (4, 9)]


def test_a_damaged_best_json_is_named(tmp_path: Path) -> None:
    (tmp_path / folder_name(1)).mkdir()
    (tmp_path / "best.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"best\.json: damaged"):
        open_checkpoint(tmp_path)
