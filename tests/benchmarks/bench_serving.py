"""`make bench-serving`: our backend beside Triton's Python backend and beside TensorFlow with no server, in one run.

The server has one CPU and its clients another, so that neither takes from the other what is measured.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from client.scorer import Scorer
from client.transport import GrpcTransport
from perf.analyzer import Analyzer, find_perf_analyzer
from perf.payloads import random_rows, write_perf_analyzer_json
from perf.points import PERF_ANALYZER, Point, ResultRow
from serving.embedded import TritonServer
from tests.benchmarks import serving_repository as repo
from tests.benchmarks.child import BenchmarkError, stop_on_sigterm
from tests.benchmarks.machine import machine_facts
from tests.benchmarks.output import number, print_results, run_main, say
from tests.benchmarks.session_loop import SessionLoop, compile_session_loop
from training.feature_spec import FeatureSpec
from training.report.tables import Table

SERVER_CPU, CLIENT_CPU = 0, 1
PAYLOAD_ROWS = 2048
BACKENDS = {"native": repo.NATIVE, "python": repo.PYTHON}
CEILING_BATCH, CEILING_CONCURRENCY = 64, 4
RANK_CALLS = 60
LOAD_TIMEOUT_S = 60.0
INSTANCES = (1, 2, 4)
Figures = dict[str, Any]


@click.command(context_settings={"show_default": True, "max_content_width": 100})
@click.option("--batches", default="1,16,64,256,1024", help="Rows of a request.")
@click.option("--concurrency", default="1,4,16", help="Requests on their way at once.")
@click.option("--requests", type=click.IntRange(min=10), default=300, help="Requests measured at each point, at least.")
@click.option("--rounds", type=click.IntRange(min=1), default=2, help="Times each point is measured; medians count.")
@click.option("--candidates", type=click.IntRange(min=1), default=1000, help="Candidates of a ranking request.")
@click.option("--memory/--no_memory", default=True, help="Measure memory with a table of 1.2 million rows.")
@click.option(
    "--work", type=click.Path(path_type=Path), default=Path("build/bench/serving"), help="Folder for all files."
)
def main(
    batches: str, concurrency: str, requests: int, rounds: int, candidates: int, memory: bool, work: Path
) -> None:  # fmt: skip
    """Measure serving side by side: our backend, the Python backend, and a bare TF_SessionRun loop."""
    stop_on_sigterm()
    if len(os.sched_getaffinity(0)) < 2:
        raise BenchmarkError("expected two CPUs: one for the server, one for its clients")
    work = work.resolve()
    machine = machine_facts()
    say("export SIM, beside it the same SavedModel for the Python backend …")
    repository = work / "repository"
    version = repo.exported(repo.trained_checkpoint(work, "sim"), repository, "--instances", 1)
    repo.add_python_twin(repository)
    tools = repo.tools_with_python_backend(work / "tools")
    repo.let_stubs_find_python(tools)
    points = [Point(PERF_ANALYZER, b, c) for b in _numbers(batches) for c in _numbers(concurrency)]
    spec = FeatureSpec.load(version / "feature_spec.yaml")
    with _server(repository, tools, "explicit") as server:
        figures: Figures = {"benchmark": "serving", "machine": machine, "load_s": _load_seconds(server, rounds)}
        measured = _measure(server, spec, points, requests, rounds, work)
        figures["points"] = measured
        figures["ceiling"] = _ceiling(server, spec, version, measured, work)
        figures["rank"] = _rank(server, spec, candidates)
    if memory:
        figures["memory_bytes"] = _memory(work, tools)
    figures["ratios"] = _ratios(figures)
    print_results(_tables(figures), figures)


@contextmanager
def _server(repository: Path, tools: Any, mode: str, load: Sequence[str] = ()) -> Iterator[TritonServer]:
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


def _load_seconds(server: TritonServer, rounds: int) -> dict[str, float]:
    """From the load call to its return, which is when the version serves; medians."""
    import tritonclient.grpc as triton

    seconds = defaultdict(list)
    with triton.InferenceServerClient(server.endpoints.grpc) as client:
        for number_of_round in range(rounds):
            for kind, model in BACKENDS.items():
                if number_of_round:
                    client.unload_model(model)
                    _wait_until(lambda model=model: not client.is_model_ready(model))
                start = time.perf_counter()
                client.load_model(model, client_timeout=LOAD_TIMEOUT_S)
                seconds[kind].append(time.perf_counter() - start)
        client.load_model(repo.RANK)
    return {kind: statistics.median(values) for kind, values in seconds.items()}


def _measure(
    server: TritonServer, spec: FeatureSpec, points: Sequence[Point], requests: int, rounds: int, work: Path
) -> list[Figures]:
    """Each point with both backends in turn, every second round in the other order."""
    transport = GrpcTransport(server.endpoints.grpc)
    inputs = transport.describe(repo.NATIVE, "", 30.0).inputs
    payload = work / "payload.json"
    write_perf_analyzer_json(random_rows(spec, inputs, PAYLOAD_ROWS), payload)
    transport.close()
    binary = find_perf_analyzer()
    rows: dict[tuple[Point, str], list[ResultRow]] = defaultdict(list)
    for number_of_round in range(rounds):
        for point in points:
            for kind in sorted(BACKENDS, reverse=bool(number_of_round % 2)):
                analyzer = Analyzer(binary, server.endpoints.grpc, BACKENDS[kind], "1", payload, work_dir=work)
                row = analyzer.measure(point, max(60, requests if point.batch_size < 256 else requests // 4))
                rows[point, kind].append(row)
                speed = f"{row.rows_per_s:,.0f} rows/s, p99 {row.p99_ms:.2f} ms"
                say(f"batch {point.batch_size}, {point.load}, {kind}: {speed}")
    return [
        {
            "backend": kind, "batch": point.batch_size, "concurrency": point.concurrency,
            **{
                name: statistics.median([getattr(row, name) or math.nan for row in measured])
                for name in ("rows_per_s", "p50_ms", "p90_ms", "p95_ms", "p99_ms")
            },
        }
        for (point, kind), measured in rows.items()
    ]  # fmt: skip


def _ceiling(
    server: TritonServer, spec: FeatureSpec, version: Path, measured: Sequence[Figures], work: Path
) -> dict[str, float]:
    """Rows a second of one thread on the server's CPU with no server: for each batch size, the server idle."""
    transport = GrpcTransport(server.endpoints.grpc)
    inputs = transport.describe(repo.NATIVE, "", 30.0).inputs
    transport.close()
    loop = SessionLoop(compile_session_loop(work), version / "model.savedmodel", "serving_default", "probability")
    figures = {}
    for batch in sorted({row["batch"] for row in measured}):
        columns = {name: _with_last_axis(a) for name, a in random_rows(spec, inputs, batch).items()}
        figures[str(batch)] = loop.rows_per_s(columns, 2.0, SERVER_CPU, work)
        say(f"batch {batch}, no server: {figures[str(batch)]:,.0f} rows/s")
    return figures


def _rank(server: TritonServer, spec: FeatureSpec, candidates: int) -> Figures:
    """One user with many candidates against as many pointwise rows, in turn, one request at a time."""
    rng = np.random.default_rng(1)
    with (
        Scorer(GrpcTransport(server.endpoints.grpc), repo.RANK, in_flight=1) as ranker,
        Scorer(GrpcTransport(server.endpoints.grpc), repo.NATIVE, in_flight=1) as scorer,
    ):
        row = random_rows(spec, scorer.description.inputs, 1, seed=3)
        targets = {f.name: rng.integers(1, f.cardinality + 1, candidates) for f in spec.channel("target_item_features")}
        history = {f.name: row[f.name][0] for f in spec.channel("positive_history")}
        user = {name: value[0].reshape(-1)[0] for name, value in row.items() if name not in {*targets, *history}}
        pointwise = {
            **{name: np.full(candidates, value) for name, value in user.items()},
            **{name: np.tile(value, (candidates, 1)) for name, value in history.items()},
            **targets,
        }  # fmt: skip
        calls = {"rank": lambda: ranker.rank(user, history, targets), "pointwise": lambda: scorer.score(pointwise)}
        difference = float(np.abs(calls["rank"]() - calls["pointwise"]()).max())
        milliseconds: dict[str, list[float]] = defaultdict(list)
        for _ in range(RANK_CALLS):
            for kind, call in calls.items():
                start = time.perf_counter()
                call()
                milliseconds[kind].append((time.perf_counter() - start) * 1e3)
    sent = {
        "rank": sum(np.asarray(v, np.int64).nbytes for v in (*user.values(), *history.values(), *targets.values())),
        "pointwise": sum(np.asarray(v, np.int64).nbytes for v in pointwise.values()),
    }
    return {
        "candidates": candidates, "largest_difference": difference, "request_bytes": sent,
        **{
            kind: {f"p{q}_ms": float(np.percentile(values, q)) for q in (50, 90, 95, 99)}
            for kind, values in milliseconds.items()
        },
    }  # fmt: skip


def _memory(work: Path, tools: Any) -> dict[str, dict[str, int]]:
    """Private memory of the server's processes with 1, 2 and 4 instances of a model with a large table."""
    repository = work / "large"
    repo.exported(repo.trained_checkpoint(work, "sim", repo.LARGE_TABLE), repository, "--no_rank")
    repo.add_python_twin(repository)
    figures: dict[str, dict[str, int]] = defaultdict(dict)
    for kind, model in BACKENDS.items():
        for count in INSTANCES:
            repo.set_instances(repository, model, count)
            with _server(repository, tools, "explicit", [model]) as server:
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


def _ratios(figures: Figures) -> dict[str, float]:
    """What the tables come down to. More than 1: the first is larger."""
    at = {(r["backend"], r["batch"], r["concurrency"]): r for r in figures["points"]}
    ratios = {"load_native_to_python": figures["load_s"]["native"] / figures["load_s"]["python"]}
    saturated = [r["rows_per_s"] for (kind, batch, _), r in at.items() if (kind, batch) == ("native", CEILING_BATCH)]
    if saturated:
        ratios["saturated_to_ceiling_batch_64"] = max(saturated) / figures["ceiling"][str(CEILING_BATCH)]
    for name, figure in (("throughput", "rows_per_s"), ("p99", "p99_ms")):
        pair = [at.get((kind, 1, CEILING_CONCURRENCY)) for kind in ("native", "python")]
        if all(pair):
            ratios[f"{name}_native_to_python_batch_1_concurrency_4"] = pair[0][figure] / pair[1][figure]  # type: ignore[index]
    rank = figures["rank"]
    ratios["rank_to_pointwise_candidates_per_s"] = rank["pointwise"]["p50_ms"] / rank["rank"]["p50_ms"]
    ratios["rank_to_pointwise_request_bytes"] = rank["request_bytes"]["rank"] / rank["request_bytes"]["pointwise"]
    for kind, memory in figures.get("memory_bytes", {}).items():
        ratios[f"memory_4_instances_to_1_{kind}"] = memory["4"] / memory["1"]
    return ratios


def _tables(figures: Figures) -> list[Table]:
    rows = [
        [
            str(r["batch"]), str(r["concurrency"]), r["backend"], number(r["rows_per_s"], ",.0f"),
            *(number(r[f"p{q}_ms"], ".2f") for q in (50, 90, 95, 99)),
        ]
        for r in figures["points"]
    ]  # fmt: skip
    points = Table(
        "Requests", ["batch", "in flight", "backend", "rows/s", "p50 ms", "p90 ms", "p95 ms", "p99 ms"], rows, 0,
        "Server on one CPU, perf_analyzer on another; medians of the rounds.",
    )  # fmt: skip
    rank = figures["rank"]
    ranking = Table(
        f"{rank['candidates']:,} candidates of one user", ["request", "bytes of ids", "p50 ms", "p99 ms"],
        [
            [kind, f"{rank['request_bytes'][kind]:,}", *(f"{rank[kind][f'p{q}_ms']:.2f}" for q in (50, 99))]
            for kind in ("rank", "pointwise")
        ],
    )  # fmt: skip
    ratios = Table("Ratios", ["what", "ratio"], [[name, f"{value:.3f}"] for name, value in figures["ratios"].items()])
    return [points, ranking, ratios]


def _with_last_axis(column: np.ndarray) -> np.ndarray:
    return column if column.ndim > 1 else column[:, np.newaxis]


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _wait_until(is_so: Any, timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > end:
            raise BenchmarkError(f"the server did not unload a model within {timeout_s:g} s")
        time.sleep(0.05)


if __name__ == "__main__":
    run_main(main)
