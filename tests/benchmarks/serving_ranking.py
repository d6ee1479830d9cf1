"""Ranking: many candidates of one user against as many pointwise rows, and what it leaves of a processor's peak."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from client.scorer import Scorer
from client.transport import GrpcTransport
from perf.payloads import random_rows
from serving.embedded import TritonServer
from tests.benchmarks import serving_repository as repo
from tests.benchmarks.output import say
from tests.benchmarks.product_peak import peak_of_cpu
from tests.benchmarks.serving_figures import Figures
from tests.benchmarks.serving_server import SERVER_CPU
from training.feature_spec import FeatureSpec

TURNS, CALLS, WARMUP_CALLS = 60, 300, 20
PERCENTILES = (50, 90, 95, 99)
RANKING = {"float32": repo.RANK, "float32 plain": repo.RANK_PLAIN, "bfloat16": repo.RANK_BFLOAT16}
# rows of TensorFlow's operations; and of the CPU kernels, which see that the rows have one history
POINTWISE = {"pointwise": repo.PLAIN, "pointwise_kernels": repo.NATIVE}


@dataclass(frozen=True)
class _Request:
    """One user with n candidates: as a ranking request, and as rows."""

    user: Mapping[str, np.generic]
    history: Mapping[str, np.ndarray]
    targets: Mapping[str, np.ndarray]

    @property
    def rows(self) -> dict[str, np.ndarray]:
        count = len(next(iter(self.targets.values())))
        return {
            **{name: np.full(count, value) for name, value in self.user.items()},
            **{name: np.tile(value, (count, 1)) for name, value in self.history.items()},
            **self.targets,
        }

    def ranked_by(self, ranker: Scorer) -> np.ndarray:
        """[n]"""
        return ranker.rank(self.user, self.history, self.targets)

    def rank_bytes(self) -> int:
        return _bytes((*self.user.values(), *self.history.values(), *self.targets.values()))


def _bytes(ids: Iterable[Any]) -> int:
    return sum(np.asarray(values, np.int64).nbytes for values in ids)


def measure_ranking(server: TritonServer, spec: FeatureSpec, candidates: int, version: Path, work: Path) -> Figures:
    """Pointwise rows and ranking in both types in turn, for the ratios; then ranking alone, and with twice as many.

    One request at a time, through the Python client. version: the pointwise model's, whose manifest counts products.
    work: folder for logs.
    """
    with ExitStack() as stack:

        def open_scorer(model: str) -> Scorer:
            return stack.enter_context(Scorer(GrpcTransport(server.endpoints.grpc), model, in_flight=1))

        scorers = {kind: open_scorer(model) for kind, model in POINTWISE.items()}
        rankers = {dtype: open_scorer(model) for dtype, model in RANKING.items()}
        request = _request(spec, scorers["pointwise"], candidates)
        rows = request.rows
        calls: dict[str, Callable[[], np.ndarray]] = {
            "rank": lambda: request.ranked_by(rankers["float32"]),
            **{kind: partial(scorer.score, rows) for kind, scorer in scorers.items()},
            "rank_plain": lambda: request.ranked_by(rankers["float32 plain"]),
            "rank_bfloat16": lambda: request.ranked_by(rankers["bfloat16"]),
        }
        scores = {kind: call() for kind, call in calls.items()}
        differences = {kind: float(np.abs(s - scores["pointwise"]).max()) for kind, s in scores.items()}
        turns = _in_turn(calls)
        say(f"{candidates:,} candidates in turn: " + ", ".join(f"{k} {f['p50_ms']:.1f} ms" for k, f in turns.items()))
        alone: list[Figures] = [
            {"dtype": dtype, "candidates": count, **_alone(ranker, _request(spec, scorers["pointwise"], count))}
            for count in (candidates, 2 * candidates)
            for dtype, ranker in rankers.items()
        ]
        for row in alone:
            figures = f"p50 {row['p50_ms']:.1f}, p99 {row['p99_ms']:.1f} ms"
            say(f"{row['candidates']:,} candidates alone, {row['dtype']}: {figures}")
    flop, peak = _flop(version, candidates), peak_of_cpu(SERVER_CPU, work / "logs" / "product_peak.log")
    return {
        "candidates": candidates,
        "largest_difference": max(d for kind, d in differences.items() if kind != "rank_bfloat16"),
        "largest_difference_bfloat16": differences["rank_bfloat16"],
        "request_bytes": {"rank": request.rank_bytes(), "pointwise": _bytes(rows.values())},
        **turns,
        "alone": alone,
        "flop": flop,
        "peak_flop_per_s": peak,
        "share_of_peak": flop / (alone[0]["p50_ms"] / 1e3) / peak,
    }  # fmt: skip


def _request(spec: FeatureSpec, scorer: Scorer, candidates: int) -> _Request:
    """A user whose history is full, and candidates drawn evenly."""
    rng = np.random.default_rng(1)
    row = random_rows(spec, scorer.description.inputs, 1, seed=3)
    targets = {f.name: rng.integers(1, f.cardinality + 1, candidates) for f in spec.channel("target_item_features")}
    history = {f.name: rng.integers(1, f.cardinality + 1, f.dimensions) for f in spec.channel("positive_history")}
    user = {name: value[0].reshape(-1)[0] for name, value in row.items() if name not in {*targets, *history}}
    return _Request(user, history, targets)


def _in_turn(calls: Mapping[str, Callable[[], np.ndarray]]) -> dict[str, dict[str, float]]:
    taken: dict[str, list[float]] = {kind: [] for kind in calls}
    for _ in range(TURNS):
        for kind, call in calls.items():
            taken[kind].append(_seconds(call))
    return {kind: _percentiles(values) for kind, values in taken.items()}


def _alone(ranker: Scorer, request: _Request) -> dict[str, float]:
    seconds = [_seconds(lambda: request.ranked_by(ranker)) for _ in range(WARMUP_CALLS + CALLS)]
    return _percentiles(seconds[WARMUP_CALLS:])


def _seconds(call: Callable[[], np.ndarray]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    return {f"p{q}_ms": float(np.percentile(seconds, q)) * 1e3 for q in PERCENTILES}


def _flop(version: Path, candidates: int) -> float:
    """Of the products of one ranking request, as training.flops.ranking_flops counts them of a model."""
    manifest = json.loads((version / "manifest.json").read_text(encoding="utf-8"))
    row, user = (manifest["multiply_adds"][part] for part in ("row", "of_them_user"))
    return 2.0 * (user + candidates * (row - user))
