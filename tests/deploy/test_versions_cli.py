"""`recserve versions` on a real Triton: publish, list, roll back, prune, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from client import GrpcTransport, Scorer
from deploy.errors import LoadRefused, SettingError, VerificationFailed
from deploy.held_set import HeldSet
from recserve import cli
from serving.embedded import TritonServer
from tests.conftest import TinyModel

pytestmark = pytest.mark.server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TritonServer]:
    """Over an empty repository, tmp_path/models."""
    (tmp_path / "models").mkdir()
    with TritonServer(tmp_path / "models", model_control_mode="explicit", load_models=["*"]) as server:
        yield server


@pytest.fixture
def exported(tiny_repository: Path, tiny_model: TinyModel, tmp_path: Path) -> Path:
    """A version exported elsewhere, with a held set that follows the model's formula."""
    folder = tmp_path / "exported"
    shutil.copytree(tiny_repository, folder)
    inputs = tiny_model.served(tiny_model.rows(20))
    wide = {name: v[:, None] if v.ndim == 1 else v for name, v in inputs.items()}
    HeldSet(wide, tiny_model.logits(inputs)).save(folder / "sim" / "1")
    return folder


class Versions:
    def __init__(self, repository: Path, url: str) -> None:
        self.repository, self._url = repository, url

    def __call__(self, command: str, *options: object, with_url: bool = True) -> str:
        url = ("--url", self._url) if with_url else ()
        arguments = ["versions", command, "--model_repository", self.repository, *url, *options]
        result: Result = CliRunner().invoke(cli, [str(a) for a in arguments])
        if result.exception is not None:
            raise result.exception
        return result.stdout

    def live(self) -> dict[str, Any]:
        return json.loads(self("list", "--ask_server", "--json"))


@pytest.fixture
def versions(server: TritonServer, tmp_path: Path) -> Versions:
    return Versions(tmp_path / "models", server.endpoints.grpc)


def log_of(repository: Path) -> list[dict[str, Any]]:
    return [json.loads(line[5:])["data"] for line in (repository / ".decisions.json").read_text().splitlines()]


def test_publish_roll_back_publish_again_and_prune(
    versions: Versions, exported: Path, server: TritonServer, tiny_model: TinyModel
) -> None:
    for number in (1, 2):
        said = versions("publish", "--exported", exported)
        assert said.startswith(f"published version {number}, 20 held rows compared")
    assert "serves version 1 instead of 2" in versions("rollback", "--reason", "to try it")
    found = versions.live()
    assert found["live"] == 1
    assert [v["state"] for v in found["versions"]] == ["live, served", "-"]
    assert found["versions"][1]["published"]["how"] == "versions publish"
    assert "@" in found["versions"][1]["published"]["by"]
    versions("publish", "--exported", exported)
    assert [v["state"] for v in versions.live()["versions"]] == ["-", "-", "live, served"]
    versions("rollback", "--to", 1)
    assert versions("prune", "--keep", 1, with_url=False) == "removed 2\n"
    assert [v["version"] for v in versions.live()["versions"]] == [1, 3]
    decisions = [(d["decision"], d.get("version"), d["reason"]) for d in log_of(versions.repository)]
    assert decisions[2] == ("rolled_back", 1, "to try it")
    with Scorer(GrpcTransport(server.endpoints.grpc), "sim") as scorer:
        rows = tiny_model.served(tiny_model.rows(5, seed=3))
        np.testing.assert_allclose(scorer.score(rows, "logit"), tiny_model.logits(rows), atol=1e-5)
        assert scorer.description.version == "1"


def test_a_version_that_scores_otherwise_is_not_published(versions: Versions, exported: Path) -> None:
    versions("publish", "--exported", exported)
    held = HeldSet.load(exported / "sim" / "1")
    assert held is not None
    HeldSet(held.inputs, held.logit + np.float32(0.01)).save(exported / "sim" / "1")
    with pytest.raises(VerificationFailed, match="20 of 20 held rows differ"):
        versions("publish", "--exported", exported)
    assert [v["state"] for v in versions.live()["versions"]] == ["live, served"]
    assert sorted(p.name for p in versions.repository.iterdir()) == [".decisions.json", "sim"]
    assert log_of(versions.repository)[-1]["kind"] == "verification_failed"


def test_a_damaged_saved_model_leaves_the_server_ready(
    versions: Versions, exported: Path, server: TritonServer
) -> None:
    import tritonclient.grpc as triton

    versions("publish", "--exported", exported)
    (exported / "sim" / "1" / "model.savedmodel" / "saved_model.pb").write_bytes(b"\xff" * 50)
    with pytest.raises(LoadRefused, match="Triton does not load it"):
        versions("publish", "--exported", exported)
    assert [v["state"] for v in versions.live()["versions"]] == ["live, served"]
    with triton.InferenceServerClient(server.endpoints.grpc) as client:
        assert client.is_server_ready()
    server.stop(timeout_s=3.0)  # Triton waits all its exit timeout for a model that it could not load


def test_what_cannot_be_done_is_told(versions: Versions, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="has no version of model sim"):
        versions("publish", "--exported", tmp_path / "nothing")
    versions("publish", "--exported", exported)
    with pytest.raises(SettingError, match="there is no version before 1"):
        versions("rollback")
    with pytest.raises(SettingError, match="got 5; expected one of"):
        versions("rollback", "--to", 5)
    with pytest.raises(SettingError, match="live already"):
        versions("rollback", "--to", 1)


def test_a_server_that_loads_nothing_on_request_is_told(exported: Path, tmp_path: Path) -> None:
    with TritonServer(exported) as server:
        versions = Versions(exported, server.endpoints.grpc)
        with pytest.raises(SettingError, match="model_control_mode explicit"):
            versions("publish", "--exported", exported)


def test_a_server_with_explicit_control_may_start_with_nothing(tmp_path: Path) -> None:
    """A first start on an empty volume: the side-car brings the first model."""
    (tmp_path / "models").mkdir()
    ports = ["--grpc_port", "0", "--http_port", "0", "--metrics_port", "0"]
    where = ["--model_repository", str(tmp_path / "models"), "--state_dir", str(tmp_path / "state")]
    explicit = ["--model_control_mode", "explicit", "--detach"]
    started = CliRunner().invoke(cli, ["serve", *where, *ports, *explicit])
    stopped = CliRunner().invoke(cli, ["stop", "--state_dir", str(tmp_path / "state")])
    assert (started.exit_code, stopped.exit_code) == (0, 0), started.output
    assert "Stopped the server" in stopped.output
