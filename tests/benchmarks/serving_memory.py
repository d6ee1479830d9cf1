"""Memory of a server with several instances of a model with a large table."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from serving.tool_folder import ToolFolder
from tests.benchmarks import serving_repository as repo
from tests.benchmarks.output import say
from tests.benchmarks.serving_server import BACKENDS, server_on_its_own_cpu

INSTANCES = (1, 2, 4)


def measure_memory(work: Path, tools: ToolFolder) -> dict[str, dict[str, int]]:
    """Private memory of the server's processes with 1, 2 and 4 instances of a model with a large table."""
    repository = work / "large"
    repo.exported(repo.trained_checkpoint(work, "sim", repo.LARGE_TABLE), repository, "--no_rank")
    repo.add_python_twin(repository)
    figures: dict[str, dict[str, int]] = defaultdict(dict)
    for kind, model in BACKENDS.items():
        for count in INSTANCES:
            repo.set_instances(repository, model, count)
            with server_on_its_own_cpu(repository, tools, "explicit", [model]) as server:
                figures[kind][str(count)] = _private_bytes(server.pid)
            say(f"{kind}, {count} instances: {figures[kind][str(count)] / 1e6:,.0f} MB")
    return dict(figures)


def _private_bytes(pid: int) -> int:
    """Of the process and its children, in proportion to how many share a page."""
    children = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdecimal() and _parent(int(p.name)) == pid]
    own = sum(
        int(line.split()[1]) * 1024
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if line.startswith("Pss_Anon")
    )  # fmt: skip
    return own + sum(_private_bytes(child) for child in children)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0
