"""The rank signature as it is published: its files, its config.pbtxt, its scores, and what failures leave."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from export import repository
from export.errors import ExportError
from export.parity import parity_inputs
from recserve import cli
from tests.export.command import export
from training.checkpoint import open_checkpoint

CANDIDATES = ("item_id_trgt", "cat_id_trgt")
HISTORIES = ("item_id_pos", "cat_id_pos")


@pytest.fixture(scope="module")
def published(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("ranked")
    output = export(checkpoint, models, "--max_rank_users", "4")
    assert f"published {models / 'sim_rank' / '1'}" in output
    assert "parity of rank: 256 candidates" in output
    return models


def config_of(models: Path, name: str) -> model_config_pb2.ModelConfig:
    return text_format.Parse((models / name / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def test_the_config_has_open_dimensions_and_says_what_they_are(published: Path) -> None:
    config = config_of(published, "sim_rank")
    dims = {tensor.name: list(tensor.dims) for tensor in config.input}
    assert dims == {"user_id": [1], **{name: [-1] for name in CANDIDATES + HISTORIES}}
    assert [(tensor.name, list(tensor.dims)) for tensor in config.output] == [("probability", [-1]), ("logit", [-1])]
    assert config.max_batch_size == 4
    assert not config.HasField("dynamic_batching")
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    assert parameters["TF_SIGNATURE_DEF"] == "rank"
    assert parameters["RANK_CANDIDATES"] == "item_id_trgt,cat_id_trgt"
    assert parameters["RANK_HISTORY_STEPS"] == "12"
    warmup = {sample.name: {n: list(i.dims) for n, i in sample.inputs.items()} for sample in config.model_warmup}
    assert warmup["candidates_1000"]["item_id_trgt"] == [1000]
    assert warmup["candidates_1000"]["item_id_pos"] == [12]
    pointwise = config_of(published, "sim").parameters
    assert {n: v for n, v in parameters.items() if n.startswith("TF_") and n != "TF_SIGNATURE_DEF"} == {
        n: v.string_value for n, v in pointwise.items()
    }  # so that a backend may serve both from one session


def test_the_signature_scores_candidates_as_the_pointwise_one_scores_rows(published: Path, checkpoint: Path) -> None:
    signatures = tf.saved_model.load(str(published / "sim_rank" / "1" / "model.savedmodel")).signatures
    rows = parity_inputs(open_checkpoint(checkpoint).restore_model().served, 6)
    for name in ("user_id", *HISTORIES):
        rows[name][:3], rows[name][3:] = rows[name][1], rows[name][2]
    rows["item_id_trgt"][4] = 10**6  # not in the table
    users = {n: v.reshape(2, 3) if n in CANDIDATES else v[::3] for n, v in rows.items()}
    expected = signatures["serving_default"](**{n: tf.constant(v) for n, v in rows.items()})
    got = signatures["rank"](**{n: tf.constant(v) for n, v in users.items()})
    for output in ("probability", "logit"):
        np.testing.assert_allclose(got[output], tf.reshape(expected[output], [2, 3]), atol=1e-5)


def test_both_versions_share_their_files_and_each_stays_whole_without_the_other(published: Path) -> None:
    files = sorted(p for p in (published / "sim" / "1" / "model.savedmodel").rglob("*") if p.is_file())
    assert files
    for file in files:
        assert file.samefile(published / "sim_rank" / file.relative_to(published / "sim"))
    copy = published.with_name("copy")
    shutil.copytree(published, copy)
    shutil.rmtree(copy / "sim")
    assert "rank" in tf.saved_model.load(str(copy / "sim_rank" / "1" / "model.savedmodel")).signatures
    manifest = json.loads((copy / "sim_rank" / "1" / "manifest.json").read_text())
    assert (manifest["model"], manifest["signature"]) == ("sim_rank", "rank")
    assert (copy / "sim_rank" / "1" / "feature_spec.yaml").is_file()


def test_files_are_copied_where_links_are_not_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: str, target: str, **_: object) -> None:
        raise PermissionError(1, "Operation not permitted", target)

    (tmp_path / "a" / "variables").mkdir(parents=True)
    (tmp_path / "a" / "variables" / "data").write_text("weights")
    monkeypatch.setattr(repository.os, "link", refuse)
    repository.share_files(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "variables" / "data").read_text() == "weights"


def test_without_rank_there_is_one_signature_and_one_model(checkpoint: Path, tmp_path: Path) -> None:
    output = export(checkpoint, tmp_path, "--no_rank", "--parity_rows", "2")
    assert "sim_rank" not in output
    assert [p.name for p in tmp_path.iterdir()] == ["sim"]
    assert list(tf.saved_model.load(str(tmp_path / "sim" / "1" / "model.savedmodel")).signatures) == ["serving_default"]


def test_models_that_belong_together_appear_together_or_not_at_all(tmp_path: Path) -> None:
    def fill(folders: repository.Folders, version: int) -> None:
        for folder in folders.values():
            (folder / "weights").write_text(str(version))

    def lose_a_race(folders: repository.Folders, version: int) -> None:
        fill(folders, version)
        (tmp_path / "a" / str(version)).mkdir()
        (tmp_path / "a" / str(version) / "weights").write_text("another export's")

    repository.publish(tmp_path, {"a": "of a", "b": "of b"}, fill)
    with pytest.raises(ExportError, match="published by another export"):
        repository.publish(tmp_path, {"a": "new", "b": "new"}, lose_a_race)
    assert repository.versions(tmp_path / "b") == [1]
    assert (tmp_path / "a" / "2" / "weights").read_text() == "another export's"
    assert [(tmp_path / m / "config.pbtxt").read_text() for m in "ab"] == ["of a", "of b"]
    targets = repository.publish(tmp_path, {"a": "of a", "b": "of b"}, fill)
    assert {name: folder.name for name, folder in targets.items()} == {"a": "3", "b": "3"}


def test_amp_tells_what_it_costs_and_serves_bfloat16(checkpoint: Path, tmp_path: Path) -> None:
    output = export(checkpoint, tmp_path, "--amp", "--parity_rows", "64")
    assert "bfloat16 against float32 on 64 rows" in output
    manifest = json.loads((tmp_path / "sim" / "1" / "manifest.json").read_text())
    assert manifest["dtype"] == "bfloat16"
    loss = manifest["precision_loss"]
    assert 0 < loss["mean_abs_difference"] < loss["max_abs_difference"] < 0.02
    assert loss["auc_float32"] is None
    graph = tf.saved_model.load(str(tmp_path / "sim" / "1" / "model.savedmodel")).signatures["rank"].graph
    functions = [graph, *(f.graph for f in graph._functions.values() if hasattr(f, "graph"))]
    products = [op for g in functions for op in g.get_operations() if op.type == "MatMul"]
    assert {op.outputs[0].dtype for op in products} == {tf.bfloat16, tf.float32}  # the head is float32


def test_held_out_data_without_amp_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["export", "--checkpoint", str(checkpoint), "--held_out_data", str(tmp_path)])
    assert done.exit_code == 2
    assert "give both, or none" in done.output
