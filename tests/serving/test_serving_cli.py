"""`recserve serve` and `recserve stop` as a user runs them: processes, signals, exit codes, what is left."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.ports import port_is_free
from serving.state import ServerState, process_start_ticks, read_state, write_state
from serving.tool_folder import ToolFolder

RECSERVE = [sys.executable, "-m", "recserve"]
FREE_PORTS = ["--grpc_port", "0", "--http_port", "0", "--metrics_port", "0"]
TIMEOUT_S = 90


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RECSERVE, *args], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """A state folder; a detached server that a failing test leaves is stopped."""
    folder = tmp_path / "state folder"
    yield folder
    run("stop", "--state_dir", str(folder), "--timeout_s", "5")


@pytest.fixture
def arguments(tools: ToolFolder, small_repository: Path, state_dir: Path) -> list[str]:
    return ["--model_repository", str(small_repository), "--state_dir", str(state_dir), *FREE_PORTS]


def start_attached(arguments: list[str]) -> tuple[subprocess.Popen[str], str]:
    """Starts `serve` and returns it with what it printed until it was ready."""
    process = subprocess.Popen(
        [*RECSERVE, "serve", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Ctrl-C stops it" in line:
            break
    return process, "".join(lines)


def child_of(pid: int) -> int:
    """The one child process; threads come and go, so ask each process for its parent."""
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            parent = stat.read_text().rpartition(")")[2].split()[1]
            if int(parent) == pid:
                children.append(int(stat.parent.name))
    (child,) = children
    return child


def port_of(printed: str, name: str) -> int:
    (line,) = [line for line in printed.splitlines() if line.startswith(name)]
    return int(line.split()[1].removeprefix("http://").removesuffix("/metrics").rpartition(":")[2])


@pytest.mark.server
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_prints_endpoints_and_models_and_stops_on_a_signal(arguments: list[str], number: signal.Signals) -> None:
    process, printed = start_attached(arguments)
    try:
        ports = [port_of(printed, name) for name in ("gRPC", "HTTP", "metrics")]
        assert printed.splitlines()[-2].split() == ["echo", "1"]
        assert not any(port_is_free("127.0.0.1", port) for port in ports)
        process.send_signal(number)
        assert process.wait(TIMEOUT_S) == 0
        assert all(port_is_free("127.0.0.1", port) for port in ports)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.server
def test_a_second_signal_kills_without_a_traceback(arguments: list[str]) -> None:
    process, _ = start_attached(arguments)
    child = child_of(process.pid)
    os.kill(child, signal.SIGSTOP)  # it cannot end by itself
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "SIGINT: stopping the server" in process.stderr.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "Error: SIGINT while stopping: the server was killed" in errors
    assert "Traceback" not in errors
    assert process_start_ticks(child) is None


@pytest.mark.server
def test_serve_ends_with_the_log_when_triton_dies(arguments: list[str]) -> None:
    process, _ = start_attached(arguments)
    os.kill(child_of(process.pid), signal.SIGKILL)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert "Error: Triton ended by itself" in errors
    assert "Started GRPCInferenceService" in errors  # a line of its log


@pytest.mark.server
@pytest.mark.parametrize("mode", ["none", "explicit"])
def test_detach_and_stop(arguments: list[str], state_dir: Path, make_input: Any, mode: str) -> None:
    import tritonclient.grpc as triton

    started = run("serve", "--detach", "--model_control_mode", mode, *arguments)
    assert started.returncode == 0, started.stderr
    state = json.loads((state_dir / "server.json").read_text())
    assert state["ready"] is True
    assert state["grpc"] in started.stdout
    command = started.stdout.splitlines()[-1].removeprefix("Stop it:  ")
    assert shlex.split(command) == ["recserve", "stop", "--state_dir", str(state_dir)]
    with triton.InferenceServerClient(state["grpc"]) as client:
        result = client.infer("echo", [make_input("x", np.array([[1, 2, 3]], np.float32))])
    np.testing.assert_array_equal(result.as_numpy("y"), [[3, 2, 1]])

    again = run("serve", "--detach", *arguments)
    assert again.returncode == 1
    assert f"process id {state['pid']}" in again.stderr

    stopped = run("stop", "--state_dir", str(state_dir))
    assert (stopped.returncode, stopped.stdout) == (0, f"Stopped the server with process id {state['pid']}.\n")
    assert process_start_ticks(state["pid"]) is None
    assert port_is_free("127.0.0.1", int(state["grpc"].rpartition(":")[2]))
    for _ in range(2):
        nothing = run("stop", "--state_dir", str(state_dir))
        assert (nothing.returncode, nothing.stdout) == (0, "No server is running.\n")


@pytest.mark.server
def test_detach_that_fails_leaves_nothing(arguments: list[str], small_repository: Path, state_dir: Path) -> None:
    config = small_repository / "echo" / "config.pbtxt"
    config.write_text(config.read_text().replace("dims: [3]", "dims: [4]"))
    failed = run("serve", "--detach", *arguments)
    assert failed.returncode == 1
    assert "input 'x': the model has FP32 [-1,3], config.pbtxt says FP32 [-1,4]" in failed.stderr
    assert read_state(state_dir) is None


@pytest.mark.server
def test_detach_that_is_interrupted_leaves_nothing(arguments: list[str], state_dir: Path) -> None:
    process = subprocess.Popen([*RECSERVE, "serve", "--detach", *arguments], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + TIMEOUT_S
    while (state := read_state(state_dir)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert "SIGTERM before the server was ready; it was stopped" in errors
    assert process_start_ticks(state.pid) is None
    assert read_state(state_dir) is None


@pytest.mark.server
def test_a_stale_state_file_stops_no_stranger_and_blocks_no_start(arguments: list[str], state_dir: Path) -> None:
    with subprocess.Popen(["sleep", "100"]) as stranger:
        ticks = process_start_ticks(stranger.pid)
        assert ticks is not None
        stale = ServerState(stranger.pid, ticks - 1, "127.0.0.1:1", "127.0.0.1:2", "http://127.0.0.1:3", "log", True)
        write_state(state_dir, stale)
        assert run("stop", "--state_dir", str(state_dir)).stdout == "No server is running.\n"
        assert stranger.poll() is None
        write_state(state_dir, stale)
        started = run("serve", "--detach", *arguments)
        assert started.returncode == 0, started.stderr
        assert read_state(state_dir) != stale
        stranger.terminate()


def test_stop_kills_a_server_that_hangs(state_dir: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(100)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as hanging:
        assert hanging.stdout is not None
        hanging.stdout.readline()
        ticks = process_start_ticks(hanging.pid)
        assert ticks is not None
        write_state(state_dir, ServerState(hanging.pid, ticks, "", "", "", "", True))
        stopped = run("stop", "--state_dir", str(state_dir), "--timeout_s", "0.2")
        assert stopped.stdout == f"Stopped the server with process id {hanging.pid}.\n"
        assert hanging.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("pid", [-1, 0, 2**80, "x", None])
def test_a_state_file_with_no_process_id_means_no_server(state_dir: Path, pid: Any) -> None:
    write_state(state_dir, ServerState(pid, 1, "", "", "", "", ready=True))
    result = run("stop", "--state_dir", str(state_dir))
    assert (result.returncode, result.stdout) == (0, "No server is running.\n"), result.stderr
    assert read_state(state_dir) is None


def test_a_damaged_state_file_is_named(state_dir: Path) -> None:
    state = asdict(ServerState(1, 2, "", "", "", "", True))
    del state["pid"]
    for text in ("{", "[]", json.dumps(state)):
        state_dir.mkdir(exist_ok=True)
        (state_dir / "server.json").write_text(text)
        result = run("stop", "--state_dir", str(state_dir))
        assert result.returncode == 1
        assert "server.json is damaged" in result.stderr
    (state_dir / "server.json").unlink()


def test_a_taken_port_is_refused(arguments: list[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = run("serve", *arguments, "--http_port", str(port))
    assert result.returncode == 1
    assert f"--http_port {port}: cannot listen on 127.0.0.1:{port}: Address already in use" in result.stderr


def test_an_address_of_another_machine_is_refused(arguments: list[str]) -> None:
    result = run("serve", *arguments, "--host", "192.0.2.1", "--http_port", "18123")
    assert result.returncode == 1
    assert "cannot listen on 192.0.2.1:18123: Cannot assign requested address" in result.stderr


def test_folders_that_cannot_be_written_are_named(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    below = str(tmp_path / "file" / "below")
    for options, words in (
        (["--log_file", below], f"cannot write the log {below}"),
        (["--detach", "--state_dir", below], f"--state_dir {below} cannot be made"),
    ):
        result = run("serve", *arguments, *options)
        assert result.returncode == 1
        assert words in result.stderr
        assert "Traceback" not in result.stderr


def test_one_port_for_two_services_is_refused(arguments: list[str]) -> None:
    result = run("serve", *arguments, "--http_port", "18123", "--metrics_port", "18123")
    assert result.returncode == 1
    assert "--metrics_port and --http_port are both 18123" in result.stderr


def test_an_empty_or_missing_repository_is_refused(tmp_path: Path) -> None:
    for folder, words in ((tmp_path, "holds no model"), (tmp_path / "none", "there is no such folder")):
        result = run("serve", "--model_repository", str(folder), *FREE_PORTS)
        assert result.returncode == 1
        assert words in result.stderr
        assert str(folder) in result.stderr


def test_the_commands_load_nothing_heavy() -> None:
    code = "import serving.cli, sys; print({'tensorflow', 'tritonclient', 'numpy', 'grpc'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"
