"""CPU affinity: which cores each process of a host may use, from the host's own topology.

The modes are those of the reference, which binds a process to the cores near its GPU. Here the cores are the
ones that this process was allowed to use when it started (cgroups, taskset), and the processes of a host are
spread over its sockets in blocks:

none                        nothing is bound
socket                      all cores of the process's socket
single                      the first core of the process's socket
single_unique               one core for each process
socket_unique_interleaved   the cores of the socket dealt out to its processes in turn
socket_unique_contiguous    the cores of the socket cut into blocks, one for each of its processes

A process that is alone on its host keeps all its cores under the `unique` modes. The hardware threads of a core
stay together, unless there are more processes than cores.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
TOPOLOGY_ROOT = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Core:
    """A physical core: its logical CPUs that may be used, and its socket."""

    cpus: tuple[int, ...]
    socket: int


def bind_process(mode: str, root: Path = TOPOLOGY_ROOT) -> frozenset[int] | None:
    """Binds this process as `mode` says, by horovodrun's local rank. Returns its CPUs; None where hosts cannot bind.

    Threads inherit it when they start, so it comes before TensorFlow is imported; TensorFlow then makes as many
    threads as there are CPUs left to it.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    allowed = frozenset(os.sched_getaffinity(0))
    rank, size = (int(os.environ.get(f"HOROVOD_LOCAL_{name}", default)) for name, default in (("RANK", 0), ("SIZE", 1)))
    cpus = cpus_of_process(mode, read_topology(allowed, root), rank, size)
    if cpus != allowed:
        os.sched_setaffinity(0, cpus)
    return cpus


def cpus_of_process(mode: str, cores: Sequence[Core], local_rank: int, local_size: int) -> frozenset[int]:
    """The logical CPUs of one of local_size processes on a host. cores: all that the processes may use."""
    everything = frozenset(cpu for core in cores for cpu in core.cpus)
    if mode == "none" or (local_size == 1 and "unique" in mode):
        return everything
    sockets = sorted({core.socket for core in cores})
    groups = _blocks(sockets, local_size) if local_size <= len(sockets) else None
    if groups is not None:
        mine, peers = groups[local_rank], [local_rank]
    else:
        socket_of = [rank * len(sockets) // local_size for rank in range(local_size)]
        mine = [sockets[socket_of[local_rank]]]
        peers = [rank for rank in range(local_size) if socket_of[rank] == socket_of[local_rank]]
    near = [core for core in cores if core.socket in mine]
    if mode == "socket":
        return _joined(near)
    if mode == "single":
        return _joined(near[:1])
    place, count = peers.index(local_rank), len(peers)
    if count > len(near):  # more processes than cores: hardware threads, and then turns, are shared out
        near = [Core((cpu,), core.socket) for core in near for cpu in core.cpus]
        place, count = place % len(near), min(count, len(near))
    if mode == "single_unique":
        return _joined(near[place : place + 1])
    if mode == "socket_unique_interleaved":
        return _joined(near[place::count])
    return _joined(_blocks(near, count)[place])


def read_topology(allowed: Collection[int], root: Path = TOPOLOGY_ROOT) -> list[Core]:
    """Allowed cores in the order of their first CPU. A CPU of which the system says nothing: a core of socket 0."""
    cores: dict[tuple[int, int, int], list[int]] = {}
    for cpu in sorted(allowed):
        folder = root / f"cpu{cpu}" / "topology"
        socket = _number(folder / "physical_package_id", 0)
        core, die = _number(folder / "core_id", -1 - cpu), _number(folder / "die_id", 0)
        cores.setdefault((max(socket, 0), die, core), []).append(cpu)
    return [Core(tuple(cpus), socket) for (socket, _, _), cpus in cores.items()]


def _number(path: Path, default: int) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return default


def _blocks(items: Sequence[T], count: int) -> list[list[T]]:
    """items cut into `count` runs whose lengths differ by at most one."""
    cuts = [len(items) * i // count for i in range(count + 1)]
    return [list(items[a:b]) for a, b in itertools.pairwise(cuts)]


def _joined(cores: Sequence[Core]) -> frozenset[int]:
    return frozenset(cpu for core in cores for cpu in core.cpus)
