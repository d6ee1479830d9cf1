"""The graph of CPU kernels inside an exported SavedModel: what it is made of, and that no one else notices it."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from export import cpu_graph
from export.parity import parity_inputs
from tests.export.command import export
from tests.export.conftest import make_checkpoint, sim_spec
from training.checkpoint import open_checkpoint
from training.feature_spec import Feature
from training.native import kernels_available, load_kernels
from training.settings import ModelSettings, Settings

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
    meta_graph = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs[0]
    return {op.name for op in meta_graph.meta_info_def.stripped_op_list.op}


def both_signatures(saved_model: Path, folder: Path) -> list[Any]:
    """Of the plain graph, and of the one of kernels."""
    load_kernels()
    (folder / "variables").symlink_to(saved_model / "variables")
    (folder / "saved_model.pb").symlink_to(saved_model / cpu_graph.FOLDER / "saved_model.pb")
    return [tf.saved_model.load(str(path)).signatures for path in (saved_model, folder)]


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


# widths that fit the kernels, unlike those of the other tests
WIDE = ModelSettings(
    embedding_dim=16, stage_one_mlp_dims=(8,), stage_two_mlp_dims=(16,), aux_mlp_dims=(4,), long_seq_length=8, k=3,
    activation_unit_dims=(16, 8),
)  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "sim": {},
    "sim, hard": {"search": "hard"},
    "sim, projected, heads, reference": {
        "search_projection": True,
        "history_attention": "multi_head",
        "augru": "reference",
    },
    "sim, unit, padding runs through": {"history_attention": "activation_unit", "masked_rnn": False},
    "dien": {"model_type": "dien"},
    "din": {"model_type": "din"},
}


@needs_kernels
@pytest.mark.parametrize("variant", VARIANTS)
def test_both_graphs_score_alike_whatever_the_shapes(variant: str, tmp_path: Path) -> None:
    settings = Settings(model=dataclasses.replace(WIDE, **VARIANTS[variant]))
    checkpoint = make_checkpoint(tmp_path / "checkpoint", sim_spec(), settings=settings)
    export(checkpoint, tmp_path / "models", "--max_rank_users", "4")
    graphs = both_signatures(tmp_path / "models" / "sim" / "1" / "model.savedmodel", tmp_path)
    served = open_checkpoint(checkpoint).restore_model().served
    for rows in (0, 1, 2, 70, 300):
        compare([graph["serving_default"] for graph in graphs], inputs_of(served, rows, rows))
    for users, candidates, steps in RANK_SHAPES:
        inputs = {n: v[:users] for n, v in inputs_of(served, users, users).items()}
        drawn = inputs_of(served, users * candidates, 5)
        inputs |= {n: drawn[n].reshape(users, candidates) for n in ("item_id_trgt", "cat_id_trgt")}
        for name in ("item_id_pos", "cat_id_pos"):
            wide = np.concatenate([inputs[name]] * 2, axis=1)
            inputs[name] = wide[:, wide.shape[1] - steps :]
        compare([graph["rank"] for graph in graphs], inputs)


# the history has 12 steps, of which 4 are the short part
RANK_SHAPES = [
    (1, 1, 12),
    (1, 300, 12),
    (3, 5, 12),
    (1, 7, 3),
    (2, 7, 4),
    (1, 7, 5),
    (1, 7, 0),
    (1, 0, 12),
    (2, 3, 20),
]


def inputs_of(served: Sequence[Feature], rows: int, seed: int) -> dict[str, np.ndarray]:
    return {name: values[:rows] for name, values in parity_inputs(served, max(rows, 2), seed).items()}


def compare(signatures: Sequence[Any], inputs: Mapping[str, np.ndarray]) -> None:
    plain, native = (s(**{n: tf.constant(v) for n, v in inputs.items()})["logit"].numpy() for s in signatures)
    assert plain.shape == native.shape
    np.testing.assert_allclose(plain, native, atol=1e-5)
