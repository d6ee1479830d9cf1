"""CPU affinity on made-up hosts, and that a process really gets what was worked out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from training.affinity import Core, cpus_of_process, read_topology
from training.settings import AFFINITIES

# two sockets of three cores with two hardware threads each, numbered as Linux does
TWO_SOCKETS = [Core((i, i + 6), 0 if i < 3 else 1) for i in range(6)]
ONE_SOCKET = [Core((i,), 0) for i in range(4)]


def fake_host(root: Path, cores: list[Core]) -> Path:
    for number, core in enumerate(cores):
        for cpu in core.cpus:
            folder = root / f"cpu{cpu}" / "topology"
            folder.mkdir(parents=True)
            (folder / "physical_package_id").write_text(f"{core.socket}\n")
            (folder / "core_id").write_text(f"{number % 3}\n")  # numbered anew in each socket
    return root


def all_processes(mode: str, cores: list[Core], size: int) -> list[list[int]]:
    return [sorted(cpus_of_process(mode, cores, rank, size)) for rank in range(size)]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("none", [list(range(12))] * 4),
        ("socket", [[0, 1, 2, 6, 7, 8]] * 2 + [[3, 4, 5, 9, 10, 11]] * 2),
        ("single", [[0, 6]] * 2 + [[3, 9]] * 2),
        ("single_unique", [[0, 6], [1, 7], [3, 9], [4, 10]]),
        ("socket_unique_interleaved", [[0, 2, 6, 8], [1, 7], [3, 5, 9, 11], [4, 10]]),
        ("socket_unique_contiguous", [[0, 6], [1, 2, 7, 8], [3, 9], [4, 5, 10, 11]]),
    ],
)
def test_four_processes_on_two_sockets(mode: str, expected: list[list[int]]) -> None:
    assert all_processes(mode, TWO_SOCKETS, 4) == expected


@pytest.mark.parametrize("mode", [m for m in AFFINITIES if "unique" in m])
def test_a_process_that_is_alone_keeps_every_core(mode: str) -> None:
    assert all_processes(mode, TWO_SOCKETS, 1) == [list(range(12))]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 12, 13, 30])
@pytest.mark.parametrize("mode", AFFINITIES)
@pytest.mark.parametrize("cores", [TWO_SOCKETS, ONE_SOCKET, ONE_SOCKET[:1]])
def test_no_process_is_left_without_a_core_and_unique_ones_share_only_if_they_must(
    mode: str, size: int, cores: list[Core]
) -> None:
    sets = all_processes(mode, cores, size)
    assert all(sets)
    cpus = [cpu for core in cores for cpu in core.cpus]
    assert {cpu for s in sets for cpu in s} <= set(cpus)
    if "unique" in mode and size <= len(cores):
        assert sum(map(len, sets)) == len({cpu for s in sets for cpu in s})
        if mode != "single_unique":
            assert sorted(cpu for s in sets for cpu in s) == sorted(cpus)


def test_one_process_for_each_socket_gets_that_socket() -> None:
    for mode in ("socket_unique_interleaved", "socket_unique_contiguous", "socket"):
        assert all_processes(mode, TWO_SOCKETS, 2) == [[0, 1, 2, 6, 7, 8], [3, 4, 5, 9, 10, 11]]


def test_more_processes_than_cores_share_out_the_hardware_threads() -> None:
    assert all_processes("single_unique", TWO_SOCKETS[:1], 2) == [[0], [6]]


def test_the_topology_is_read_with_only_the_allowed_cpus(tmp_path: Path) -> None:
    root = fake_host(tmp_path, TWO_SOCKETS)
    assert sorted(read_topology(range(12), root), key=lambda c: c.cpus) == TWO_SOCKETS
    assert read_topology({1, 7, 4}, root) == [Core((1, 7), 0), Core((4,), 1)]


def test_a_host_that_says_nothing_of_its_topology_is_one_socket(tmp_path: Path) -> None:
    assert read_topology({3, 5}, tmp_path) == [Core((3,), 0), Core((5,), 0)]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot bind processes")
def test_a_process_is_bound_to_what_it_may_use() -> None:
    code = "import os, training.affinity as a; print(len(a.bind_process('single')), len(os.sched_getaffinity(0)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    bound, counted = map(int, done.stdout.split())
    first = read_topology(os.sched_getaffinity(0))[0]
    assert bound == counted == len(first.cpus)


def test_defect_15_binding_needs_no_gpu_library() -> None:
    source = (Path(__file__).parents[2] / "training" / "affinity.py").read_text()
    assert "nvml" not in source.lower()
    assert "tensorflow" not in sys.modules or "import tensorflow" not in source
