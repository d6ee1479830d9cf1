"""`recserve sidecar` in a process of its own on empty volumes: it brings a model to serving, and ends when told to."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.connection import Connection
from deploy.server_admin import ServerAdmin
from serving.embedded import TritonServer
from tests.training.options import SMALLEST

ROOT = Path(__file__).parents[2]
TRAIN = " ".join((*SMALLEST, "--global_batch_size", "2048", "--seed", "1"))
DEADLINE_S = 600.0


@pytest.mark.slow
@pytest.mark.server
def test_a_first_start_on_empty_volumes_ends_with_a_served_model(tmp_path: Path) -> None:
    models, state, data = (tmp_path / name for name in ("models", "state", "data"))
    models.mkdir()
    with TritonServer(models, model_control_mode="explicit", load_models=["*"]) as server:
        url = server.endpoints.grpc
        command = [
            sys.executable, "-m", "recserve", "sidecar", "--bootstrap", "--bootstrap_users", "100", "--data", data,
            "--model_repository", models, "--state_dir", state, "--url", url, "--metrics_port", "0", "--epochs", "1",
            "--train_options", TRAIN, "--export_options", "--parity_rows 16 --instances 1",
            "--poll_s", "0.1", "--nice", "0",
        ]  # fmt: skip
        process = subprocess.Popen([*map(str, command)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            port = int(re.search(r":(\d+)/metrics", process.stderr.readline())[1])  # type: ignore[index]
            _wait_until(lambda: "recserve_sidecar_live_version 1" in _get(port, "/metrics"), process)
            assert 'recserve_sidecar_decisions_total{decision="published",reason="passed"} 1' in _get(port, "/metrics")
            assert json.loads(_get(port, "/healthz"))["live_version"] == 1
            with ServerAdmin(Connection(url)) as admin:
                assert [admin.ready_versions(name) for name in ("sim", "sim_rank")] == [[1], [1]]
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 128 + signal.SIGTERM
        finally:
            process.kill()
            process.communicate()
    lines = [json.loads(line[5:])["data"] for line in (state / "decisions.json").read_text().splitlines()]
    assert [line["decision"] for line in lines] == ["bootstrap", "published"]
    assert lines[1]["held_rows"] > 64


def _get(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    return connection.getresponse().read().decode()


def _wait_until(condition: object, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline, "no version was published"
        time.sleep(0.2)
