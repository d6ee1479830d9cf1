"""`recserve export` -> real Triton: which graph of the SavedModel is served, and what a bad one does."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from client import GrpcTransport, Scorer
from export.parity import parity_inputs
from serving.embedded import TritonServer
from serving.tool_folder import CPU_KERNELS
from tests.export.command import export
from tests.export.conftest import make_checkpoint, sim_spec
from training.checkpoint import open_checkpoint
from training.native import kernels_available

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(not kernels_available(), reason="the CPU kernels are not compiled; run `make kernels`"),
]
WITH_KERNELS = "with CPU kernels"
OFF = 'parameters { key: "CPU_KERNELS" value { string_value: "false" } }\n'
Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), sim_spec())


def replace(file: Path, content: bytes) -> None:
    """A new file: the old one is linked from elsewhere."""
    file.unlink()
    file.write_bytes(content)


def another_interface(folder: Path) -> None:
    file = folder / "cpu_graph.json"
    replace(file, json.dumps({**json.loads(file.read_text()), "interface": 0}).encode())


def other_weights(folder: Path) -> None:
    """Somebody saved over the SavedModel: the graph beside it still holds the old weights."""
    index = folder.parents[1] / "variables" / "variables.index"
    replace(folder.parents[1] / "saved_model.pb", (folder.parents[1] / "saved_model.pb").read_bytes() + b"\x12\x00")
    assert index.is_file()


DAMAGES: dict[str, tuple[Damage, str]] = {
    "no_graph": (lambda folder: shutil.rmtree(folder.parent), ""),
    "interface": (another_interface, "for other CPU kernels than these"),
    "weights": (other_weights, "twin of another saved_model.pb"),
    "no_json": (lambda folder: replace(folder / "cpu_graph.json", b"{"), "not used"),
    "broken": (lambda folder: replace(folder / "saved_model.pb", b"\xff" * 100), "does not load"),
}


@pytest.fixture(scope="module")
def server(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """`sim` with its kernels, `off` by its configuration without, and a copy for each of DAMAGES."""
    models = tmp_path_factory.mktemp("kernels")
    export(checkpoint, models, "--model_name", "sim", "--max_rank_users", "4")
    for name in ("off", *DAMAGES):
        shutil.copytree(models / "sim", models / name)
        config = (models / "sim" / "config.pbtxt").read_text().replace('name: "sim"', f'name: "{name}"')
        (models / name / "config.pbtxt").write_text(config + (OFF if name == "off" else ""))
    for name, (damage, _) in DAMAGES.items():
        damage(models / name / "1" / "model.savedmodel" / "assets.extra" / "recserve_cpu")
    with TritonServer(models) as server:
        yield server


def loading_of(server: TritonServer, model: str) -> str:
    """The log's lines about the model."""
    lines = server.log_file.read_text().splitlines()
    return "\n".join(line for line in lines if f"'{model}'" in line or f"/{model}/1/" in line)


def expected(checkpoint: Path, rows: dict[str, np.ndarray]) -> np.ndarray:
    model = open_checkpoint(checkpoint).restore_model()
    known = {f.name: np.where(rows[f.name] <= (f.cardinality or 0), rows[f.name], 0) for f in model.served}
    features = {
        f.name: tf.constant(known[f.name] if f.is_sequence else known[f.name][:, 0], tf.int32) for f in model.served
    }
    return tf.sigmoid(model.call(features, training=False)).numpy()


def scores_of(server: TritonServer, model: str, rows: dict[str, np.ndarray]) -> np.ndarray:
    columns = {name: values if values.shape[1] > 1 else values[:, 0] for name, values in rows.items()}
    with Scorer(GrpcTransport(server.endpoints.grpc), model) as scorer:
        return scorer.score(columns)


@pytest.mark.parametrize("model", ["sim", "off", *DAMAGES])
def test_every_graph_scores_as_the_checkpoint_does(server: TritonServer, checkpoint: Path, model: str) -> None:
    rows = parity_inputs(open_checkpoint(checkpoint).restore_model().served, 70)
    np.testing.assert_allclose(scores_of(server, model, rows), expected(checkpoint, rows), atol=1e-5)


def test_the_graph_of_kernels_is_served_unless_the_configuration_says_no(server: TritonServer) -> None:
    assert WITH_KERNELS in loading_of(server, "sim")
    assert "shares the session" in loading_of(server, "sim_rank") or WITH_KERNELS in loading_of(server, "sim_rank")
    off = loading_of(server, "off")
    assert WITH_KERNELS not in off
    assert "CPU kernels off" in off


@pytest.mark.parametrize("model", DAMAGES)
def test_a_graph_that_does_not_fit_is_left_aside_with_the_reason(server: TritonServer, model: str) -> None:
    lines = loading_of(server, model)
    assert WITH_KERNELS not in lines
    assert DAMAGES[model][1] in lines


def library(folder: Path, **changes: object) -> Path:
    """A folder of kernels whose description differs from the real one."""
    folder.mkdir()
    (folder / "libkernels.so").symlink_to(CPU_KERNELS / "libkernels.so")
    description = json.loads((CPU_KERNELS / "libkernels.json").read_text())
    (folder / "libkernels.json").write_text(json.dumps({**description, **changes}))
    return folder


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"instructions": ["avx2", "avx9000"]}, "no CPU kernels for this processor"),
        ({"tensorflow": "1.15.0"}, "compiled for TensorFlow 1.15.0"),
        ({"instructions": []}, "names no instructions"),
    ],
)
def test_kernels_that_do_not_run_here_are_not_loaded(
    server: TritonServer, tmp_path: Path, checkpoint: Path, changes: dict[str, object], reason: str
) -> None:
    export(checkpoint, tmp_path / "models", "--no_rank")
    folder = library(tmp_path / "kernels", **changes)
    option = f"--backend-config=tensorflow,cpu-kernels={folder}"
    with TritonServer(tmp_path / "models", extra_args=[option]) as other:
        log = other.log_file.read_text()
        assert reason in log
        assert "its graph of CPU kernels is not used: there are no CPU kernels for this processor" in log
        rows = parity_inputs(open_checkpoint(checkpoint).restore_model().served, 5)
        np.testing.assert_allclose(scores_of(other, "sim", rows), expected(checkpoint, rows), atol=1e-5)


def test_later_instances_do_not_need_the_files_again(checkpoint: Path, tmp_path: Path) -> None:
    """Who publishes may take a version back while it loads: what is loaded serves, and the server stays up."""
    import tritonclient.grpc as triton

    export(checkpoint, tmp_path / "models", "--no_rank", "--instances", "3")
    saved_model = tmp_path / "models" / "sim" / "1" / "model.savedmodel"
    rows = parity_inputs(open_checkpoint(checkpoint).restore_model().served, 5)
    with TritonServer(tmp_path / "models", model_control_mode="explicit") as server, ThreadPoolExecutor(1) as pool:
        with triton.InferenceServerClient(server.endpoints.grpc) as client:
            loading = pool.submit(client.load_model, "sim")
            end = time.monotonic() + 60.0
            while "'sim' version 1: loaded" not in server.log_file.read_text():
                assert time.monotonic() < end
            shutil.rmtree(saved_model)
            loading.result(timeout=60.0)
        np.testing.assert_allclose(scores_of(server, "sim", rows), expected(checkpoint, rows), atol=1e-5)
