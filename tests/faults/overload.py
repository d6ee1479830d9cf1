"""What a server does with more requests than it can answer.

Overload is three times the measured capacity, sent in an open loop: requests leave at random (Poisson) times that are
drawn before, whether answers come or not, and a latency counts from the time drawn. Nothing is sent again. The server
has one core and the sender the other, so that neither takes time from the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from client import GrpcTransport, Scorer
from perf.payloads import random_rows
from serving.embedded import TritonServer
from tests.faults.datasets import recserve
from tests.faults.open_loop import Answers, closed_loop_rate, open_loop, request_bytes
from tests.faults.world import World, require
from training.feature_spec import FeatureSpec

UNLOADED_SHARE = 0.2  # of the capacity
PAYLOADS = 16
SAMPLE_S = 0.5
ROWS = 64  # of a request
QUEUE, TIMEOUT_US = 4, 50_000
RECOVERED_S = 2.0
P99_FACTOR, RECOVERY_S, GROWTH_BYTES = 5.0, 5.0, 50e6


@dataclass(frozen=True)
class Overload:
    """capacity: requests/s that the server answers when there are always some waiting. Latencies are in ms.

    slowest_second_p99_ms: the p99 of the accepted requests of the worst second. recovery_s: how long after the last
    request of the overload a request was still refused, or slower than five times the unloaded p99; 0 if none was.
    recovered_p50_ms: of the best RECOVERED_S seconds after it in which all were accepted; infinite without any.
    sent_late_share: requests that left more than 5 ms after their time. memory_growth_bytes: the server's resident
    memory at the end of the overload, less that after its first tenth.
    """

    batch_size: int
    capacity: float
    unloaded_p50_ms: float
    unloaded_p99_ms: float
    offered: float
    seconds: float
    sent: int
    accepted: int
    refused: int
    other_errors: int
    accepted_per_s: float
    accepted_p50_ms: float
    accepted_p99_ms: float
    slowest_second_p99_ms: float
    refused_p50_ms: float
    refused_p99_ms: float
    recovery_s: float
    recovered_p50_ms: float
    sent_late_share: float
    memory_bytes: int
    memory_growth_bytes: int


def overload_trial(
    repository: Path, model: str = "sim", batch_size: int = 64, seconds: float = 60.0, factor: float = 3.0
) -> dict[str, Any]:
    """Serves the repository, measures its capacity, overloads it by the factor, and looks at the time after.

    repository: as export writes it, with a queue bound. Returns the fields of Overload.
    """
    server_cores, our_cores = _divided_cores()
    with _on_cores(server_cores):
        server = TritonServer(repository)
        server.start()  # inherits the cores
    try:
        server.wait_until_ready()
        with _on_cores(our_cores):
            return asdict(_measured(server, repository, model, batch_size, seconds, factor))
    finally:
        server.stop()


def overload_of(world: World, seconds: float, compare_latency: bool) -> dict[str, Any]:
    """The trial with a SIM of default size, which computes for milliseconds, and bounds; the world's own server rests.

    Fails if a request ends otherwise than answered or refused, or if the memory grows; with compare_latency, on a
    machine that does nothing else, also by the limits of accepted requests, of refusals and of the recovery.
    """
    repository = _sim_with_bounds(world)
    world.stop_server()
    try:
        found = overload_trial(repository, batch_size=ROWS, seconds=seconds)
    finally:
        world.start_server()
    require(found["other_errors"] == 0, f"{found['other_errors']} requests failed otherwise than refused: {found}")
    growth = found["memory_growth_bytes"]
    require(growth <= GROWTH_BYTES, f"memory grew by {growth / 1e6:.0f} MB; expected at most {GROWTH_BYTES / 1e6:g}")
    if compare_latency:
        _require_limits(found)
    return found


def _require_limits(found: dict[str, Any]) -> None:
    limits = {
        "accepted_p99_ms": P99_FACTOR * found["unloaded_p99_ms"],
        "refused_p99_ms": 2 * TIMEOUT_US / 1e3,
        "recovery_s": RECOVERY_S,
    }
    beyond = [f"{name} {found[name]:.1f}, at most {limit:.1f}" for name, limit in limits.items() if found[name] > limit]
    require(not beyond, f"{'; '.join(beyond)}: {found}")


def _sim_with_bounds(world: World) -> Path:
    """A repository with one instance, as the server has one core."""
    dataset, results, repository = (world.work / "overload" / name for name in ("dataset", "results", "models"))
    world.datasets.arrive(dataset)
    recserve(
        "train", "--dataset_dir", next(dataset.iterdir()), "--results_dir", results, "--save_checkpoint_path",
        results / "checkpoints", "--model_type", "sim", "--epochs", 1, "--global_batch_size", 2048,
    )  # fmt: skip
    recserve(
        "export", "--checkpoint", results / "checkpoints", "--model_repository", repository, "--model_name", "sim",
        "--no_rank", "--instances", 1, "--max_batch_size", 4 * ROWS, "--max_queue_size", QUEUE, "--queue_timeout_us",
        TIMEOUT_US,
    )  # fmt: skip
    return repository


def _measured(
    server: TritonServer, repository: Path, model: str, batch_size: int, seconds: float, factor: float
) -> Overload:
    url = server.endpoints.grpc
    payloads = _payloads(url, repository, model, batch_size)
    warm_s = min(5.0, seconds)
    closed_loop_rate(url, payloads, 1.0)
    capacity = closed_loop_rate(url, payloads, warm_s)
    unloaded = open_loop(url, payloads, UNLOADED_SHARE * capacity, warm_s)
    memory: list[int] = []
    loaded = open_loop(
        url, payloads, factor * capacity, seconds, SAMPLE_S, lambda: memory.append(_resident_bytes(server.pid))
    )
    after = open_loop(url, payloads, UNLOADED_SHARE * capacity, warm_s + 5.0)
    unloaded_p99 = unloaded.percentile_ms(99)
    return Overload(
        batch_size=batch_size,
        capacity=capacity,
        unloaded_p50_ms=unloaded.percentile_ms(50),
        unloaded_p99_ms=unloaded_p99,
        offered=factor * capacity,
        seconds=seconds,
        sent=len(loaded.scheduled_s),
        accepted=int(loaded.accepted.sum()),
        refused=int(loaded.refused.sum()),
        other_errors=int((~loaded.accepted & ~loaded.refused).sum()),
        accepted_per_s=float(loaded.accepted.sum() / seconds),
        accepted_p50_ms=loaded.percentile_ms(50),
        accepted_p99_ms=loaded.percentile_ms(99),
        slowest_second_p99_ms=_slowest_second(loaded),
        refused_p50_ms=loaded.percentile_ms(50, of_refused=True),
        refused_p99_ms=loaded.percentile_ms(99, of_refused=True),
        recovery_s=_recovery_s(after, 5 * unloaded_p99),
        recovered_p50_ms=_recovered_p50_ms(after),
        sent_late_share=float((loaded.sent_late_s > 0.005).mean()),
        memory_bytes=memory[-1],
        memory_growth_bytes=memory[-1] - memory[len(memory) // 10],
    )


def _recovery_s(after: Answers, limit_ms: float) -> float:
    """Up to 1 % of a healthy server's answers are slower than its p99, but none five times as slow, nor refused."""
    bad = ~after.accepted | (after.latency_ms > limit_ms)
    return float(after.scheduled_s[bad].max()) if bad.any() else 0.0


def _recovered_p50_ms(after: Answers) -> float:
    starts = np.arange(0.0, after.scheduled_s.max() - RECOVERED_S, SAMPLE_S)
    parts = [after.between(start, start + RECOVERED_S) for start in starts]
    good = [part.percentile_ms(50) for part in parts if len(part.accepted) and part.accepted.all()]
    return min(good, default=float("inf"))


def _slowest_second(answers: Answers) -> float:
    second = answers.scheduled_s.astype(int)
    latencies = [answers.latency_ms[answers.accepted & (second == s)] for s in range(int(second.max()) + 1)]
    return max((float(np.percentile(one, 99)) for one in latencies if len(one) >= 5), default=0.0)


def _payloads(url: str, repository: Path, model: str, batch_size: int) -> Sequence[bytes]:
    with Scorer(GrpcTransport(url), model) as scorer:
        inputs, version = scorer.description.inputs, scorer.description.version
    spec = FeatureSpec.load(repository / model / version / "feature_spec.yaml")
    rows = random_rows(spec, inputs, batch_size * PAYLOADS, 0)
    return [
        request_bytes(model, {name: column[start : start + batch_size] for name, column in rows.items()})
        for start in range(0, batch_size * PAYLOADS, batch_size)
    ]


def _divided_cores() -> tuple[set[int], set[int]]:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return set(cores), set(cores)
    return {cores[0]}, set(cores[1:])


@contextmanager
def _on_cores(cores: set[int]) -> Iterator[None]:
    """This process's threads, and the processes and threads that it starts meanwhile."""
    before = os.sched_getaffinity(0)
    threads = [int(task.name) for task in Path("/proc/self/task").iterdir()]
    for thread in threads:
        _set_cores(thread, cores)
    try:
        yield
    finally:
        for thread in threads:
            _set_cores(thread, before)


def _set_cores(thread: int, cores: set[int]) -> None:
    with suppress(ProcessLookupError):  # it has ended
        os.sched_setaffinity(thread, cores)


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
