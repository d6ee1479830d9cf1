"""The graph of CPU kernels inside an exported SavedModel: what it is made of, and that no one else notices it."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from export import cpu_graph
from export.parity import parity_inputs
from tests.export.command import export
from training.checkpoint import open_checkpoint
from training.native import kernels_available, load_kernels

GRAPH = Path("model.savedmodel") / "assets.extra" / "recserve_cpu"
needs_kernels = pytest.mark.skipif(
    not kernels_available(), reason="the CPU kernels are not compiled; run `make kernels`"
)


@pytest.fixture(scope="module")
def published(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("with_cpu_graph")
    output = export(checkpoint, models)
    assert ("parity of the graph of CPU kernels: largest difference" in output) == kernels_available()
    return models


def operations(file: Path) -> set[str]:
    graph = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return {node.op for node in nodes}


def ours(file: Path) -> set[str]:
    return {name for name in operations(file) if name.startswith("Recserve")}


@needs_kernels
def test_only_the_graph_beside_is_made_of_kernels(published: Path) -> None:
    for name in ("sim", "sim_rank"):
        version = published / name / "1"
        assert not ours(version / "model.savedmodel" / "saved_model.pb")
        assert "RecserveItemVectors" in ours(version / GRAPH / "saved_model.pb")
    both = [published / name / "1" / GRAPH / "saved_model.pb" for name in ("sim", "sim_rank")]
    assert both[0].samefile(both[1])
    assert not (published / "sim" / "1" / GRAPH / "variables").exists()


@needs_kernels
def test_the_description_names_the_files_that_it_belongs_to(published: Path) -> None:
    folder = published / "sim" / "1"
    description = json.loads((folder / GRAPH / "cpu_graph.json").read_text())
    assert description["interface"] == cpu_graph.INTERFACE
    assert description["dtype"] == "float32"
    for name, checksum in description["crc32"].items():
        assert zlib.crc32((folder / "model.savedmodel" / name).read_bytes()) == checksum
    manifest = json.loads((folder / "manifest.json").read_text())
    assert 0 <= manifest["cpu_graph_parity"]["max_abs_difference"] < 1e-5


@needs_kernels
def test_both_graphs_score_alike(published: Path, checkpoint: Path, tmp_path: Path) -> None:
    load_kernels()
    plain = published / "sim" / "1" / "model.savedmodel"
    (tmp_path / "variables").symlink_to(plain / "variables")
    (tmp_path / "saved_model.pb").symlink_to(plain / cpu_graph.FOLDER / "saved_model.pb")
    signatures = [tf.saved_model.load(str(folder)).signatures for folder in (plain, tmp_path)]
    assert signatures[0].keys() == signatures[1].keys() == {"serving_default", "rank"}
    rows = parity_inputs(open_checkpoint(checkpoint).restore_model().served, 50)
    scores = [s["serving_default"](**{n: tf.constant(v) for n, v in rows.items()})["logit"] for s in signatures]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)


@pytest.mark.parametrize("options", [["--no_cpu_kernels"], ["--xla"]])
def test_it_is_left_out_where_it_is_not_wanted(checkpoint: Path, tmp_path: Path, options: list[str]) -> None:
    output = export(checkpoint, tmp_path, "--no_rank", *options)
    assert "CPU kernels" not in output
    assert not (tmp_path / "sim" / "1" / "model.savedmodel" / "assets.extra").exists()
    assert json.loads((tmp_path / "sim" / "1" / "manifest.json").read_text())["cpu_graph_parity"] is None


def test_without_compiled_kernels_the_export_is_what_it_was(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_graph, "kernels_available", lambda: False)
    export(checkpoint, tmp_path, "--no_rank")
    assert not (tmp_path / "sim" / "1" / "model.savedmodel" / "assets.extra").exists()
