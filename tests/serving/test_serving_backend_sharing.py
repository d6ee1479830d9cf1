"""The native backend in a real Triton: one copy of a SavedModel's tables, however many instances and models use it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.embedded import TritonServer
from serving.tool_folder import ToolFolder

pytestmark = pytest.mark.server

ROWS = 10_000_000
TABLE_MB = ROWS * 4 / 2**20  # 38 MB
TENSORS = ([("ids", "INT64", [1])], [("value", "FP32", [1])])


@pytest.fixture(scope="module")
def table(special_models: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version folder whose SavedModel holds one table, served by two signatures."""
    folder = tmp_path_factory.mktemp("sharing") / "1"
    special_models.save_two_signatures(folder, ROWS)
    return folder


@pytest.fixture
def sharing(tools: ToolFolder, tmp_path: Path) -> Iterator[TritonServer]:
    """A server of the test's own with an empty repository: what it holds in memory is the test's doing."""
    (tmp_path / "models").mkdir()
    with TritonServer(tmp_path / "models", tools=tools, model_control_mode="explicit") as server:
        yield server


@pytest.fixture
def sharing_client(sharing: TritonServer) -> Iterator[Any]:
    import tritonclient.grpc as triton

    with triton.InferenceServerClient(sharing.endpoints.grpc) as client:
        yield client


def link_symbolic(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.symlink_to(source)


def link_hard(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file():
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, copy)


def memory_mb(server: TritonServer) -> float:
    """Private memory: the files of the SavedModel that the kernel keeps do not count."""
    for line in Path(f"/proc/{server.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("smaps_rollup has no line Anonymous")


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.05)


@pytest.fixture
def add(tmp_path: Path, table: Path, saved_models: Any) -> Callable[..., None]:
    """add(name, link, **options of config_text): a model of the table, its SavedModel linked like that."""

    def call(name: str, link: Callable[[Path, Path], None] = link_symbolic, **options: Any) -> None:
        model = tmp_path / "models" / name
        link(table / "model.savedmodel", model / "1" / "model.savedmodel")
        (model / "config.pbtxt").write_text(saved_models.config_text(*TENSORS, **options))

    return call


def value(client: Any, make_input: Any, model: str, row: int = 7) -> float:
    return float(client.infer(model, [make_input("ids", np.array([[row]]))]).as_numpy("value")[0, 0])


def loads(server: TritonServer, model: str) -> int:
    return server.log_file.read_text().count(f"model '{model}' version 1: loaded ")


@pytest.mark.parametrize("link", [link_symbolic, link_hard])
def test_a_second_model_of_the_same_files_shares_the_table(
    sharing: TritonServer, sharing_client: Any, make_input: Any, add: Any, link: Callable[[Path, Path], None]
) -> None:
    add("plain")
    add("negated", link, parameters={"TF_SIGNATURE_DEF": "negated"}, instances=2)
    sharing_client.load_model("plain")
    first = value(sharing_client, make_input, "plain")
    before = memory_mb(sharing)
    sharing_client.load_model("negated")
    assert value(sharing_client, make_input, "negated") == -first
    assert memory_mb(sharing) - before < TABLE_MB / 2
    assert (loads(sharing, "plain"), loads(sharing, "negated")) == (1, 0)
    sharing_client.unload_model("plain")  # the other one goes on with the table
    assert value(sharing_client, make_input, "negated") == -first
    sharing_client.unload_model("negated")
    wait_until(lambda: not sharing_client.is_model_ready("negated"))
    time.sleep(0.5)  # "not ready" comes before the end of the unloading
    add("other", parameters={"TF_NUM_INTRA_THREADS": "1"})
    sharing_client.load_model("other")  # a session of its own
    assert loads(sharing, "other") == 1
    # The last user has freed the table: TensorFlow's allocator keeps the pages, but has room for the next one.
    assert memory_mb(sharing) - before < TABLE_MB / 2


def test_other_options_or_other_files_do_not_share(
    sharing: TritonServer, sharing_client: Any, add: Any, tmp_path: Path
) -> None:
    add("plain")
    add("threads", parameters={"TF_NUM_INTRA_THREADS": "1"})
    add("rewritten", link_hard)
    variables = tmp_path / "models" / "rewritten" / "1" / "model.savedmodel" / "variables"
    for path in list(variables.iterdir()):  # the same bytes, but a file of its own: it could be changed alone
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    for model in ("plain", "threads", "rewritten"):
        sharing_client.load_model(model)
        assert loads(sharing, model) == 1


@pytest.mark.parametrize(("limit", "sessions"), [(None, 1), ("4", 1), ("2", 2), ("1", 4)])
def test_instances_share_as_far_as_the_config_lets_them(
    sharing: TritonServer,
    sharing_client: Any,
    make_input: Any,
    add: Any,
    repository: Path,
    tmp_path: Path,
    limit: str | None,
    sessions: int,
) -> None:
    parameters = {} if limit is None else {"MAX_SESSION_SHARE_COUNT": limit}
    (tmp_path / "models" / "echo" / "1").mkdir(parents=True)
    echo = repository / "echo_fp32" / "1" / "model.savedmodel"
    (tmp_path / "models" / "echo" / "1" / "model.savedmodel").symlink_to(echo)
    sharing_client.load_model("echo")  # brings in what TensorFlow takes once
    sharing_client.infer("echo", [make_input("x", np.ones([1, 3], np.float32))])
    before = memory_mb(sharing)
    add("four", instances=4, parameters=parameters)
    sharing_client.load_model("four")
    assert len({value(sharing_client, make_input, "four") for _ in range(8)}) == 1
    assert memory_mb(sharing) - before == pytest.approx(sessions * TABLE_MB, abs=0.6 * TABLE_MB)


def test_loading_and_unloading_does_not_leak(
    sharing: TritonServer, sharing_client: Any, make_input: Any, add: Any
) -> None:
    add("plain", instances=2)
    add("negated", parameters={"TF_SIGNATURE_DEF": "negated"})

    def once() -> None:
        for model in ("plain", "negated"):
            sharing_client.load_model(model)
            value(sharing_client, make_input, model)
        for model in ("plain", "negated"):
            sharing_client.unload_model(model)
            wait_until(lambda model=model: not sharing_client.is_model_ready(model))

    for _ in range(3):
        once()
    before = memory_mb(sharing)
    for _ in range(10):
        once()
    wait_until(lambda: memory_mb(sharing) - before < TABLE_MB)
