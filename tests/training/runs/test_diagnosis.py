"""A loss that is not finite: the exact step, and why."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from training.checkpoint import open_checkpoint
from training.diagnosis import NotFiniteError, bad_values, bad_variables, explained
from training.feature_spec import FeatureSpec
from training.models import build_model
from training.models.base import CtrModel
from training.settings import ModelSettings


@pytest.fixture(scope="module")
def model(fast_dataset: Path) -> CtrModel:
    settings = ModelSettings(embedding_dim=4, long_seq_length=12, k=5)
    return build_model(FeatureSpec.load(fast_dataset / "feature_spec.yaml"), settings)


@pytest.mark.parametrize("batch_size", [1600, 32])
def test_a_step_size_that_spoils_the_weights_is_found_at_the_first_step_after(
    fast_dataset: Path, tmp_path: Path, train, log_of, batch_size: int
) -> None:
    """In the middle of a pass it is the next step's loss; at its end the test rows tell."""
    options = ("--model_type", "din", "--global_batch_size", batch_size)
    save = ("--save_checkpoint_path", tmp_path / "ck")
    train(fast_dataset, tmp_path, *options, "--epochs", 1, *save)
    resume = ("--load_checkpoint_path", tmp_path / "ck", "--epochs", 2, "--lr", 1e38)
    with pytest.raises(NotFiniteError) as error:
        train(fast_dataset, tmp_path, *options, *save, *resume)
    steps = [line["step"] for line in log_of(tmp_path) if len(line["step"]) == 2]
    assert steps == [[2, 1]]
    message = str(error.value)
    if batch_size == 32:
        assert message.startswith("epoch 2, step 2: ")
        assert "total_loss is not finite" in message
        assert "Not finite by now: the table of user_id" in message
        assert re.search(r"steps before: \d\.\d+\); the data of the step is finite", message)
    else:
        assert re.match(r"epoch 2: \d+ of 100 scores of test rows are not finite", message)
    assert "Lower --lr" in message
    kept = open_checkpoint(tmp_path / "ck")
    assert kept.epoch == 1
    assert not bad_variables(kept.restore_model())


def test_data_that_is_not_finite_is_named_with_its_row(model: CtrModel) -> None:
    data = {
        "label": tf.constant([0.0, 1.0, 0.0]),
        "price": tf.constant([0.5, np.inf, np.nan]),
        "vector": tf.constant([[1.0, 2.0], [3.0, np.nan], [0.0, 0.0]]),
        "empty": tf.zeros([0, 3]),
    }
    assert bad_values(data) == [
        "price: 2 of 3 rows (first: row 1 of the batch, inf)",
        "vector: 1 of 3 rows (first: row 1 of the batch, nan)",
    ]
    error = explained(model, 3, 17, {"total_loss": np.nan, "classification_loss": 0.5}, data, [])
    assert str(error).startswith("epoch 3, step 17: total_loss is not finite, because the data is not: price: 2 of 3")


def test_variables_are_named_by_their_features(model: CtrModel) -> None:
    assert bad_variables(model) == []
    table = model.user_tables["user_id"].table
    before = table.read_value()
    table[3, 1].assign(np.nan)
    assert bad_variables(model) == ["the table of user_id"]
    error = explained(model, 1, 2, {"total_loss": np.inf}, {"label": tf.zeros([2])}, [0.7, 1e30])
    assert "total_loss of the steps before: 0.7, 1e+30" in str(error)
    assert "Not finite by now: the table of user_id. Lower --lr" in str(error)
    table.assign(before)


def test_tables_of_equal_sizes_are_told_apart(fast_dataset: Path) -> None:
    raw = FeatureSpec.load(fast_dataset / "feature_spec.yaml").to_dict()
    for feature in raw["feature_spec"].values():
        if "cardinality" in feature:
            feature["cardinality"] = 200
    settings = ModelSettings(embedding_dim=4, long_seq_length=12, k=5)
    model = build_model(FeatureSpec.from_dict(raw, fast_dataset), settings)
    for table, name in [(model.user_tables["user_id"], "user_id"), (model.item_tables[1], "cat_id_trgt")]:
        before = table.table.read_value()
        table.table[3, 1].assign(np.inf)
        assert bad_variables(model) == [f"the table of {name}"]
        table.table.assign(before)
    model.evolution.extractor.cell.bias[0].assign(np.nan)
    assert bad_variables(model) == ["evolution.extractor.cell.bias"]
