"""Defects of the reference that concern whole runs; the number is that of its list."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from training.feature_spec import FeatureSpec
from training.input_pipeline import Dataset
from training.layers.dropout import dropout_seeds
from training.metrics import log_loss, roc_auc
from training.models import build_model
from training.settings import MODEL_TYPES, ModelSettings

SHORT = ("--long_seq_length", 12, "--k", 5)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_defect_10_dropout_reaches_every_model(fast_dataset: Path, model_type: str) -> None:
    """Half of the units dropped: two training passes differ, and two scorings do not."""
    spec = FeatureSpec.load(fast_dataset / "feature_spec.yaml")

    def logits(rate: float, training: bool) -> list[np.ndarray]:
        settings = ModelSettings(model_type=model_type, embedding_dim=8, long_seq_length=12, k=5, dropout_rate=rate)
        tf.random.set_seed(1)
        model = build_model(spec, settings)
        batch = next(Dataset(spec, "train", model.trained, model.label, 64).batches())
        with dropout_seeds(1, ()):
            return [model.call(batch.features, training=training).numpy() for _ in range(2)]

    for rate, training, differs in ((0.5, True, True), (0.5, False, False), (-1.0, True, False)):
        first, second = logits(rate, training)
        assert np.allclose(first, second, atol=1e-6) is not differs


def test_defect_12_num_parallel_calls_is_a_number(fast_dataset: Path, tmp_path: Path, train, log_of) -> None:
    options = ("--model_type", "din", "--epochs", 1, "--num_parallel_calls", 8, "--global_batch_size", 400)
    train(fast_dataset, tmp_path, *options)
    assert log_of(tmp_path)[0]["data"]["num_parallel_calls"] == 8


def test_defect_18_and_21_test_loss_is_the_mean_over_rows_of_scores_that_are_written(
    fast_dataset: Path, tmp_path: Path, train, log_of
) -> None:
    """100 test rows in batches of 64 and 36: every row counts the same, and no auxiliary loss is in it."""
    train(fast_dataset, tmp_path, *SHORT, "--epochs", 1, "--global_batch_size", 64)
    with np.load(tmp_path / "results" / "test_scores.npz", allow_pickle=False) as scores:
        label, logit = scores["label"], scores["logit"]
    assert len(label) == len(logit) == 100
    summary = log_of(tmp_path)[-1]["data"]
    assert summary["test_loss"] == pytest.approx(log_loss(label, logit))
    assert summary["test_auc"] == pytest.approx(roc_auc(label, logit))
    by_hand = -np.mean(np.where(label > 0, np.log(1 / (1 + np.exp(-logit))), np.log(1 / (1 + np.exp(logit)))))
    assert summary["test_loss"] == pytest.approx(by_hand, rel=1e-5)
