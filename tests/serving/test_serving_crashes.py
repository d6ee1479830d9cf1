"""The harness tells whose crash it was."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from serving.embedded import TritonServer
from serving.tool_folder import ToolFolder
from tests.serving.crashes import whose_crash

HEAD = "I1121 06:00:00.000000 1 server.cc:674] ready\nSignal (11) received.\n"
GRPC = " 0# 0x00005581 in /t/bin/tritonserver\n 1# pthread_mutex_lock in /lib/libc.so.6\n"  # as the race leaves it
CORE = " 2# 0x00007f01 in /t/lib/libtritonserver-717102f0.so\n"
OURS = " 2# recserve::Execute in /t/backends/tensorflow/libtriton_tensorflow.so\n"


@pytest.mark.parametrize(
    ("log", "whose"),
    [
        ("I1121 06:00:00.000000 1 server.cc:674] libtriton_tensorflow.so loaded\n", "none"),
        (HEAD + GRPC, "frontend"),
        (HEAD + GRPC + OURS, "backend"),
        (HEAD + GRPC + CORE, "server"),
        (HEAD, "server"),
    ],
)
def test_the_frames_tell_whose_crash_it_was(log: str, whose: str) -> None:
    assert whose_crash(log) == whose


@pytest.mark.server
def test_a_server_that_crashes_logs_its_stack(small_repository: Path, tools: ToolFolder, tmp_path: Path) -> None:
    with TritonServer(small_repository, tools=tools, log_file=tmp_path / "log") as server:
        assert whose_crash(server.log_file.read_text()) == "none"
        os.kill(server.pid, signal.SIGSEGV)
        deadline = time.monotonic() + 30.0
        while server.is_running():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        log = server.log_file.read_text()
    assert whose_crash(log) in {"server", "frontend"}, log[-3000:]
