"""The native backend in a real Triton: a version comes and goes while clients ask another version of the model.

`RECSERVE_VERSION_CYCLES=100 pytest tests/serving/test_serving_backend_versions.py` for a long run.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.embedded import TritonServer
from serving.tool_folder import ToolFolder

pytestmark = [pytest.mark.server, pytest.mark.slow]

CYCLES = int(os.environ.get("RECSERVE_VERSION_CYCLES", "8"))
CLIENTS, ANSWER_TIMEOUT_S = 2, 30.0
ROWS = 2_500_000
TABLE_MB = ROWS * 4 / 2**20  # 9.5 MB
SETTLED = 3  # cycles after which the allocator has the pages that it needs


@pytest.fixture
def versions(special_models: Any, saved_models: Any, tmp_path: Path) -> Path:
    """A model with version 1, and `2` beside it in the folder above the repository."""
    special_models.save_two_signatures(tmp_path / "2", ROWS)
    model = tmp_path / "models" / "table"
    shutil.copytree(tmp_path / "2", model / "1")
    text = saved_models.config_text([("ids", "INT64", [1])], [("value", "FP32", [1])])
    (model / "config.pbtxt").write_text(text + "version_policy { all { } }\n")
    return model


@pytest.fixture
def server(versions: Path, tools: ToolFolder) -> Iterator[TritonServer]:
    options = {"model_control_mode": "explicit", "load_models": ["table"]}
    with TritonServer(versions.parent, tools=tools, **options) as server:
        yield server


def anonymous_mb(server: TritonServer) -> float:
    lines = Path(f"/proc/{server.pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Anonymous:"))


class Asking:
    """A client that asks version 1 for rows of its table, one after the other, until it is stopped."""

    def __init__(self, url: str, make_input: Any, stop: threading.Event) -> None:
        self._url, self._make_input, self._stop = url, make_input, stop
        self.answers: set[float] = set()
        self.answered = 0
        self.failures: list[str] = []
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        import tritonclient.grpc as triton

        with triton.InferenceServerClient(self._url) as client:
            inputs = [self._make_input("ids", np.array([[7]]))]
            while not self._stop.is_set():
                try:
                    result = client.infer("table", inputs, model_version="1", client_timeout=ANSWER_TIMEOUT_S)
                    self.answers.add(float(result.as_numpy("value")[0, 0]))
                    self.answered += 1
                except Exception as error:
                    self.failures.append(repr(error))


def wait_until_ready(client: Any, version: str, wanted: bool) -> None:
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while client.is_model_ready("table", version) != wanted:
        assert time.monotonic() < deadline, f"version {version} did not become {'' if wanted else 'un'}ready"
        time.sleep(0.01)


def test_no_request_to_one_version_fails_while_another_comes_and_goes(
    server: TritonServer, versions: Path, make_input: Any
) -> None:
    import tritonclient.grpc as triton

    stop = threading.Event()
    askers = [Asking(server.endpoints.grpc, make_input, stop) for _ in range(CLIENTS)]
    for asker in askers:
        asker.thread.start()
    memory = []
    try:
        with triton.InferenceServerClient(server.endpoints.grpc) as client:
            for _ in range(SETTLED + CYCLES):
                (versions.parents[1] / "2").rename(versions / "2")
                client.load_model("table")
                wait_until_ready(client, "2", True)
                client.infer("table", [make_input("ids", np.array([[7]]))], model_version="2")
                (versions / "2").rename(versions.parents[1] / "2")
                client.load_model("table")
                wait_until_ready(client, "2", False)
                memory.append(anonymous_mb(server))
    finally:
        stop.set()
        for asker in askers:
            asker.thread.join()
    for asker in askers:
        assert not asker.failures, asker.failures[:3]
        assert asker.answered > CYCLES
        assert len(asker.answers) == 1
    print(f"{sum(a.answered for a in askers)} requests; MB after cycles: {[round(mb) for mb in memory]}")
    settled = max(memory[:SETTLED])
    assert memory[-1] - settled < 2 * TABLE_MB, "memory does not return"
