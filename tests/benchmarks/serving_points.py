"""Requests of rows: each point of batch and concurrency with both backends, and the ceiling without a server."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from client.transport import GrpcTransport, TensorDescription
from perf.analyzer import Analyzer, find_perf_analyzer
from perf.payloads import random_rows, write_perf_analyzer_json
from perf.points import Point, ResultRow
from serving.embedded import TritonServer
from tests.benchmarks import serving_repository as repo
from tests.benchmarks.output import say
from tests.benchmarks.serving_figures import Figures
from tests.benchmarks.serving_server import SERVER_CPU
from tests.benchmarks.session_loop import SessionLoop, compile_session_loop, with_cpu_graph
from training.feature_spec import FeatureSpec

PAYLOAD_ROWS = 2048


def measure_points(
    server: TritonServer,
    models: Mapping[str, str],
    spec: FeatureSpec,
    points: Sequence[Point],
    requests: int,
    rounds: int,
    work: Path,
) -> list[Figures]:
    """Each point with all of the models (names by kind) in turn, every second round in the other order."""
    inputs = _served_inputs(server)
    payload = work / "payload.json"
    write_perf_analyzer_json(random_rows(spec, inputs, PAYLOAD_ROWS), payload)
    binary = find_perf_analyzer()
    rows: dict[tuple[Point, str], list[ResultRow]] = defaultdict(list)
    for number_of_round in range(rounds):
        for point in points:
            for kind in sorted(models, reverse=bool(number_of_round % 2)):
                analyzer = Analyzer(binary, server.endpoints.grpc, models[kind], "1", payload, work_dir=work)
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


def ceiling(
    server: TritonServer, spec: FeatureSpec, version: Path, measured: Sequence[Figures], work: Path
) -> dict[str, dict[str, float]]:
    """Rows a second of one thread on the server's CPU with no server: of each graph, for each batch size."""
    inputs, program, saved_model = _served_inputs(server), compile_session_loop(work), version / "model.savedmodel"
    graphs = {"native": with_cpu_graph(saved_model, work / "cpu_graph"), "plain": (saved_model, None)}
    figures: dict[str, dict[str, float]] = {kind: {} for kind in graphs}
    for batch in sorted({row["batch"] for row in measured}):
        columns = {name: _with_last_axis(a) for name, a in random_rows(spec, inputs, batch).items()}
        for kind, (folder, kernels) in graphs.items():
            loop = SessionLoop(program, folder, "serving_default", "probability", kernels)
            figures[kind][str(batch)] = loop.rows_per_s(columns, 2.0, SERVER_CPU, work)
            say(f"batch {batch}, no server, {kind}: {figures[kind][str(batch)]:,.0f} rows/s")
    return figures


def _with_last_axis(column: np.ndarray) -> np.ndarray:
    return column if column.ndim > 1 else column[:, np.newaxis]


def _served_inputs(server: TritonServer) -> Mapping[str, TensorDescription]:
    transport = GrpcTransport(server.endpoints.grpc)
    try:
        return transport.describe(repo.NATIVE, "", 30.0).inputs
    finally:
        transport.close()
