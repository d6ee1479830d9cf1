"""TritonServer: a real server starts, proves that it scores, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.embedded import TritonServer
from serving.errors import ServerError
from serving.ports import port_is_free
from serving.readiness import ReadyModel, score_every_model
from serving.state import process_start_ticks
from serving.tool_folder import ToolFolder

pytestmark = pytest.mark.server


def wait_until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    return process_start_ticks(pid) is not None


def assert_nothing_listens(server: TritonServer) -> None:
    for host, port in server.endpoints.listening:
        assert port_is_free(host, port)


def test_starts_scores_stops_and_starts_again(tools: ToolFolder, small_repository: Path, make_input: Any) -> None:
    import tritonclient.grpc as triton

    server = TritonServer(small_repository, tools=tools)
    for _ in range(2):
        server.start()
        assert server.wait_until_ready() == [ReadyModel("echo", "1")]
        with triton.InferenceServerClient(server.endpoints.grpc) as client:
            result = client.infer("echo", [make_input("x", np.array([[1, 2, 3]], np.float32))])
        np.testing.assert_array_equal(result.as_numpy("y"), [[3, 2, 1]])
        with pytest.raises(ServerError, match=f"already running with process id {server.pid}"):
            server.start()
        pid, log = server.pid, server.log_file
        server.stop()
        server.stop()  # nothing to do
        assert not is_alive(pid)
        assert not log.exists()
        assert_nothing_listens(server)


def test_listens_on_all_three_ports_of_loopback(server: TritonServer) -> None:
    import urllib.request

    ends = server.endpoints
    assert ends.host == "127.0.0.1"
    with urllib.request.urlopen(ends.metrics, timeout=10) as answer:  # noqa: S310
        assert b"nv_cpu_memory_used_bytes" in answer.read()  # counters of requests come with the first model
    with urllib.request.urlopen(f"http://{ends.http}/v2/health/live", timeout=10) as answer:
        assert answer.status == 200


def test_a_model_that_is_unloaded_while_models_are_scored_is_no_failure(
    tools: ToolFolder, small_repository: Path
) -> None:
    """As a side-car does with a candidate, between the list of models and the scoring of it."""
    import tritonclient.grpc as triton

    class UnloadsTheSecond(triton.InferenceServerClient):
        def get_model_repository_index(self, *arguments: Any, **options: Any) -> Any:
            index = super().get_model_repository_index(*arguments, **options)
            self.unload_model("second")
            wait_until(lambda: not self.is_model_ready("second"))
            return index

    shutil.copytree(small_repository / "echo", small_repository / "second", symlinks=True)
    with (
        TritonServer(small_repository, tools=tools, model_control_mode="explicit", load_models=["*"]) as server,
        UnloadsTheSecond(server.endpoints.grpc) as client,
    ):
        assert client.is_model_ready("second")
        assert score_every_model(client, 30.0) == [ReadyModel("echo", "1")]


def test_a_model_that_does_not_load_is_an_error_with_the_reason(tools: ToolFolder, small_repository: Path) -> None:
    config = small_repository / "echo" / "config.pbtxt"
    config.write_text(config.read_text().replace('"x" data_type: TYPE_FP32', '"x" data_type: TYPE_INT8'))
    server = TritonServer(small_repository, tools=tools)
    with pytest.raises(ServerError) as raised, server:
        pass
    message = str(raised.value)
    assert "failed to load 'echo' version 1" in message
    assert "input 'x': the model has FP32 [-1,3], config.pbtxt says INT8 [-1,3]" in message
    assert not server.is_running()
    assert_nothing_listens(server)


def test_a_model_that_loads_but_does_not_score_is_an_error(
    tools: ToolFolder, small_repository: Path, saved_models: Any
) -> None:
    import tensorflow as tf

    model = small_repository / "fails"
    saved_models.save(
        model / "1",
        lambda ids: {"y": tf.gather(tf.range(5), ids - 1)},
        [tf.TensorSpec([None, 1], tf.int64, name="ids")],
    )
    text = saved_models.config_text([("ids", "INT64", [1])], [("y", "INT32", [1])])
    (model / "config.pbtxt").write_text(text)
    with (
        pytest.raises(ServerError, match=r"model 'fails' version 1 is loaded, but scoring .* failed: .*-1 is not in"),
        TritonServer(small_repository, tools=tools),
    ):
        pass


def test_a_server_that_is_not_ready_in_time_is_stopped(tools: ToolFolder, small_repository: Path) -> None:
    server = TritonServer(small_repository, tools=tools, startup_timeout_s=0.01)
    with pytest.raises(ServerError, match=r"not ready after 0\.01 s"), server:
        pass
    assert not server.is_running()


def test_missing_binaries_are_named(small_repository: Path, tmp_path: Path) -> None:
    server = TritonServer(small_repository, tools=ToolFolder(tmp_path / "empty"))
    with pytest.raises(ServerError, match=r"bin/tritonserver is missing. Run: python -m serving\.tools"):
        server.start()
    for attribute in ("endpoints", "pid", "log_file"):
        with pytest.raises(ServerError, match="before it is started"):
            getattr(server, attribute)


def test_a_hanging_server_is_killed(tools: ToolFolder, small_repository: Path) -> None:
    server = TritonServer(small_repository, tools=tools)
    server.start()
    pid = server.pid
    os.kill(pid, signal.SIGSTOP)
    server.stop(timeout_s=0.2)
    assert not is_alive(pid)


def test_an_error_inside_the_context_stops_the_server(tools: ToolFolder, small_repository: Path) -> None:
    server = TritonServer(small_repository, tools=tools)
    with pytest.raises(RuntimeError, match="inside"), server:
        pid = server.pid
        raise RuntimeError("inside")
    assert not is_alive(pid)


def test_a_signal_during_the_spawn_does_not_lose_the_process(
    tools: ToolFolder, small_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def slow(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(real(*args, **options))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        time.sleep(0.3)  # the caller is told before it has the process
        return started[0]

    before = signal.signal(signal.SIGUSR1, interrupt)
    monkeypatch.setattr(subprocess, "Popen", slow)
    server = TritonServer(small_repository, tools=tools)
    try:
        with pytest.raises(Interrupted):
            server.start()
        server.stop()
        assert not is_alive(started[0].pid)
    finally:
        signal.signal(signal.SIGUSR1, before)
        started[0].kill()


def test_outlives_the_thread_that_started_it(tools: ToolFolder, small_repository: Path) -> None:
    server = TritonServer(small_repository, tools=tools)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    try:
        assert server.wait_until_ready() == [ReadyModel("echo", "1")]
    finally:
        server.stop()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_dies_with_its_parent(
    tools: ToolFolder, small_repository: Path, tmp_path: Path, number: signal.Signals
) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from serving.embedded import TritonServer\n"
        "from serving.tool_folder import ToolFolder\n"
        "with TritonServer(sys.argv[1], tools=ToolFolder(Path(sys.argv[2])), log_file=sys.argv[3]) as server:\n"
        "    print(server.pid, flush=True)\n"
        "    time.sleep(100)\n"
    )
    command = [sys.executable, "-c", code, str(small_repository), str(tools.root), str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.send_signal(number)
    wait_until(lambda: not is_alive(pid))
