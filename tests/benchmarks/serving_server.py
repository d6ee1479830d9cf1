"""The server that bench_serving measures: on a CPU of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from serving.embedded import TritonServer
from serving.tool_folder import ToolFolder
from tests.benchmarks import serving_repository as repo
from tests.benchmarks.child import BenchmarkError

SERVER_CPU, CLIENT_CPU = 0, 1
BACKENDS = {"native": repo.NATIVE, "python": repo.PYTHON}


@contextmanager
def server_on_its_own_cpu(
    repository: Path, tools: ToolFolder, mode: str, load: Sequence[str] = ()
) -> Iterator[TritonServer]:
    """On its own CPU; this process and its children take the other."""
    os.sched_setaffinity(0, {SERVER_CPU})
    server = TritonServer(repository, tools=tools, model_control_mode=mode, load_models=load)
    server.start()
    os.sched_setaffinity(0, {CLIENT_CPU})
    try:
        if mode == "none" or load:
            server.wait_until_ready()
        else:
            time.sleep(2.0)
        yield server
    finally:
        server.stop()


def wait_until(is_so: Callable[[], bool], timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > end:
            raise BenchmarkError(f"the server did not unload a model within {timeout_s:g} s")
        time.sleep(0.05)
