"""Publisher and ServerAdmin on a real Triton: what is withdrawn is not served, what is live is loaded as it says."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from deploy.connection import Connection
from deploy.errors import ServerRefused
from deploy.patience import Patience
from deploy.publication import Publisher
from deploy.server_admin import ServerAdmin
from export.live_version import renamed
from export.repository import Folders, publish, rejected_versions, share_files
from serving.embedded import TritonServer


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[ServerAdmin]:
    """Of a server over an empty repository, tmp_path/models."""
    (tmp_path / "models").mkdir()
    with (
        TritonServer(tmp_path / "models", model_control_mode="explicit", load_models=["*"]) as server,
        ServerAdmin(Connection(server.endpoints.grpc)) as admin,
    ):
        yield admin


@pytest.fixture
def publisher(admin: ServerAdmin, tmp_path: Path) -> Publisher:
    """Nothing is scored here: it has no need of the scoring connection."""
    return Publisher(tmp_path / "models", "sim", Connection(), admin, Patience(10.0))


def add(publisher: Publisher, source: Path, names: Sequence[str] = ("sim",)) -> None:
    """The files of the next version of these models, all with the same SavedModel."""

    def fill(folders: Folders, _: int) -> None:
        for folder in folders.values():
            share_files(source / "sim" / "1" / "model.savedmodel", folder / "model.savedmodel")
            (folder / "manifest.json").write_text("{}")

    config = (source / "sim" / "config.pbtxt").read_text()
    publish(publisher.repository, {name: renamed(config, name) for name in names}, fill)


def _wait_until_ready_is(admin: ServerAdmin, model: str, expected: list[int]) -> None:
    """A version before is unloaded, and the server's own readiness follows, a moment later."""
    deadline = time.monotonic() + 30
    while admin.ready_versions(model) != expected or not admin.is_ready():
        assert time.monotonic() < deadline, admin.states(model)
        time.sleep(0.05)


@pytest.mark.server
def test_a_rank_model_that_came_with_a_withdrawn_version_goes_with_it(
    publisher: Publisher, admin: ServerAdmin, tiny_repository: Path
) -> None:
    add(publisher, tiny_repository)
    add(publisher, tiny_repository, ("sim", "sim_rank"))
    for name in ("sim", "sim_rank"):
        admin.load(name)
    publisher.withdraw(2, 1, "scores differ")
    _wait_until_ready_is(admin, "sim", [1])
    _wait_until_ready_is(admin, "sim_rank", [])
    assert rejected_versions(publisher.repository / "sim_rank") == {2: "scores differ"}
    assert not (publisher.repository / "sim_rank" / "config.pbtxt").exists()


@pytest.mark.server
def test_the_live_version_is_loaded_with_its_own_config(publisher: Publisher, tiny_repository: Path) -> None:
    add(publisher, tiny_repository)
    config = publisher.repository / "sim" / "config.pbtxt"
    config.write_text('name: "sim"\n')  # of a version before: a kill came between the rename and the config
    assert publisher.ensure_serving() is True
    assert config.read_text() == (config.parent / "1" / "config.pbtxt").read_text()
    assert publisher.ensure_serving() is False


def test_a_program_that_is_no_triton_is_not_waited_for() -> None:
    server = grpc.server(ThreadPoolExecutor(1))  # answers UNIMPLEMENTED
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with ServerAdmin(Connection(f"127.0.0.1:{port}")) as admin, pytest.raises(ServerRefused, match="UNIMPLEMENTED"):
            admin.is_up()
    finally:
        server.stop(None).wait()
