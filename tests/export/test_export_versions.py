"""Exports from real checkpoints: what is published, that it equals the model, and what a failure leaves behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from export import parity, repository
from export.errors import ExportError
from export.parity import parity_inputs
from export.signatures import ServedModel
from tests.export.command import export
from training.checkpoint import open_checkpoint
from training.errors import CheckpointError
from training.feature_spec import FeatureSpec

SERVED = ["user_id", "item_id_trgt", "cat_id_trgt", "item_id_pos", "cat_id_pos"]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def models(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    assert f"published {folder / 'sim' / '1'}" in export(checkpoint, folder)
    return folder


def load(models: Path, version: int = 1):
    return tf.saved_model.load(str(models / "sim" / str(version) / "model.savedmodel")).signatures["serving_default"]


def test_signature_and_config_come_from_the_spec(models: Path) -> None:
    signature = load(models)
    inputs = {
        name: (spec.dtype, spec.shape.as_list()) for name, spec in signature.structured_input_signature[1].items()
    }
    assert inputs == {n: (tf.int64, [None, 12 if n.endswith("_pos") else 1]) for n in SERVED}
    outputs = {name: (t.dtype, t.shape.as_list()) for name, t in signature.structured_outputs.items()}
    assert outputs == {"probability": (tf.float32, [None, 1]), "logit": (tf.float32, [None, 1])}
    config = text_format.Parse((models / "sim" / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert [(i.name, list(i.dims)) for i in config.input] == [(n, inputs[n][1][1:]) for n in SERVED]


def test_other_dtypes_of_the_spec_are_served_as_they_are(checkpoint_of, spec_of, tmp_path: Path) -> None:
    export(checkpoint_of(tmp_path / "ck", spec_of("int32")), tmp_path / "models")
    signature = load(tmp_path / "models").structured_input_signature[1]
    assert signature["item_id_pos"].dtype == tf.int32
    assert signature["user_id"].dtype == tf.int64


def test_a_version_carries_its_spec_and_manifest(models: Path, checkpoint: Path) -> None:
    version = models / "sim" / "1"
    assert FeatureSpec.load(version / "feature_spec.yaml").features == open_checkpoint(checkpoint).spec.features
    manifest = json.loads((version / "manifest.json").read_text())
    assert manifest["version"] == 1
    assert manifest["metrics"]["test_auc"] == 0.75
    assert manifest["rows"] == {"train": 10, "test": 4}
    assert manifest["parity"]["rows"] == 256
    assert manifest["parity"]["max_abs_difference"] <= 1e-5
    assert manifest["libraries"]["tensorflow"] == tf.__version__


@pytest.mark.parametrize("rows", [1, 7])
def test_saved_model_equals_eager_also_for_a_batch_of_one(models: Path, checkpoint: Path, rows: int) -> None:
    restored = open_checkpoint(checkpoint)
    model = restored.restore_model()
    inputs = {n: v[:rows] for n, v in parity_inputs(model.served, 8).items()}
    features = {
        n: tf.constant(v[:, 0] if not restored.spec.features[n].is_sequence else v, tf.int32) for n, v in inputs.items()
    }
    outputs = load(models)(**{n: tf.constant(v) for n, v in inputs.items()})
    logits = model.call(features, training=False).numpy()
    np.testing.assert_allclose(outputs["logit"][:, 0], logits, atol=1e-5)
    np.testing.assert_allclose(outputs["probability"][:, 0], 1 / (1 + np.exp(-logits)), atol=1e-5)


@pytest.mark.parametrize("signature", ["serving_default", "rank"])
def test_only_embedding_tables_are_variables_of_the_graph(checkpoint: Path, signature: str) -> None:
    model = open_checkpoint(checkpoint).restore_model()
    served = ServedModel(model, xla=False, with_rank=True)
    read = {variable.name for variable in served.traced[signature].graph.variables}
    assert read == {"user_id_table:0", "item_id_trgt_table:0", "cat_id_trgt_table:0"}
    assert len(model.variables) > 30, "the model has its own variables again"


def test_unknown_ids_score_as_the_padding_row(models: Path, checkpoint: Path) -> None:
    inputs = parity_inputs(open_checkpoint(checkpoint).restore_model().served, 4)
    unknown = {name: values.copy() for name, values in inputs.items()}
    padding = {name: values.copy() for name, values in inputs.items()}
    for name, row, bad in (("user_id", 0, 10), ("item_id_trgt", 1, -5), ("item_id_pos", 2, 2**40)):
        unknown[name][row, 0], padding[name][row, 0] = bad, 0
    signature = load(models)
    got, expected = (signature(**{n: tf.constant(v) for n, v in x.items()})["logit"] for x in (unknown, padding))
    np.testing.assert_array_equal(got, expected)


def test_versions_count_up_and_old_ones_stay(checkpoint: Path, models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    before = tree(tmp_path / "sim" / "1")
    export(checkpoint, tmp_path)
    (tmp_path / "sim" / "7").mkdir()
    export(checkpoint, tmp_path)
    assert repository.versions(tmp_path / "sim") == [1, 2, 7, 8]
    assert tree(tmp_path / "sim" / "1") == before
    assert sorted(p.name for p in (tmp_path / "sim").iterdir()) == ["1", "2", "7", "8", "config.pbtxt"]
    assert repository.versions(tmp_path / "sim_rank") == [1, 2, 8]


@pytest.mark.slow
def test_xla_export_agrees_and_turns_dynamic_batching_off(checkpoint: Path, models: Path, tmp_path: Path) -> None:
    export(checkpoint, tmp_path, "--xla", "--model_name", "sim")
    assert "dynamic_batching" not in (tmp_path / "sim" / "config.pbtxt").read_text()
    inputs = parity_inputs(open_checkpoint(checkpoint).restore_model().served, 5)
    feed = {n: tf.constant(v) for n, v in inputs.items()}
    np.testing.assert_allclose(load(tmp_path)(**feed)["logit"], load(models)(**feed)["logit"], atol=1e-5)


def test_failures_leave_the_repository_as_it_was(
    checkpoint: Path, checkpoint_of, spec_of, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(models)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        export(tmp_path / "nowhere", models)
    with pytest.raises(ExportError, match="parity"):
        export(checkpoint_of(tmp_path / "nan", spec_of(), poison=True), models)
    mixed = tmp_path / "mixed" / "epoch-0001"
    shutil.copytree(checkpoint / "epoch-0001", mixed)
    (mixed / "settings.yaml").write_text(
        (mixed / "settings.yaml").read_text().replace("embedding_dim: 4", "embedding_dim: 8")
    )
    with pytest.raises(CheckpointError, match="damaged or of another model"):
        export(mixed, models)
    with pytest.raises(ExportError, match="model name"):
        export(checkpoint, models, "--model_name", "../sim")
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="cannot write to"):
        export(checkpoint, tmp_path / "file")
    monkeypatch.setattr(parity, "TOLERANCE", -1.0)
    with pytest.raises(ExportError, match="Nothing was published"):
        export(checkpoint, models)
    with pytest.raises(ExportError, match="parity"):
        export(checkpoint, models, "--model_name", "new")
    assert tree(models) == before
    assert sorted(p.name for p in models.iterdir()) == ["sim", "sim_rank"]


def test_parity_rows_cover_padding_every_length_and_unknown_ids(checkpoint: Path) -> None:
    inputs = parity_inputs(open_checkpoint(checkpoint).restore_model().served, 200)
    lengths = (inputs["item_id_pos"][:-1] > 0).sum(axis=1)
    assert lengths.min() == 0
    assert lengths.max() >= 11
    assert (inputs["user_id"][:-1] <= 9).all()
    assert inputs["user_id"][-1, 0] > 9
