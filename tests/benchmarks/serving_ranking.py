"""Ranking: many candidates of one user against as many pointwise rows."""

from __future__ import annotations

import time
from collections import defaultdict

import numpy as np

from client.scorer import Scorer
from client.transport import GrpcTransport
from perf.payloads import random_rows
from serving.embedded import TritonServer
from tests.benchmarks import serving_repository as repo
from tests.benchmarks.serving_figures import Figures
from training.feature_spec import FeatureSpec

RANK_CALLS = 60


def measure_ranking(server: TritonServer, spec: FeatureSpec, candidates: int) -> Figures:
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
