"""Before a point is measured: send its load for a moment. Compiles, fills caches, and tells how fast answers come."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import numpy as np

from client import GrpcTransport, Scorer, TlsFiles
from perf.points import Point

FEWEST_REQUESTS = 150  # fewer say nothing about a p99


def warm_up(
    url: str,
    model: str,
    version: str,
    rows: Mapping[str, np.ndarray],
    point: Point,
    seconds: float,
    tls: TlsFiles | None = None,
) -> float:
    """Sends the point's batches for so long, one at least; returns requests per second. rows: the payload, in turn.

    Raises ScoringError if the server does not answer.
    """
    in_flight = point.concurrency or 1
    sent = 0
    transport = GrpcTransport(url, tls)
    with Scorer(transport, model, version, batch_size=point.batch_size, in_flight=in_flight) as scorer:
        first = next(iter(_batches(rows, point.batch_size)))
        scorer.score_outputs(first, list(scorer.description.outputs)[:1])  # connects, and compiles with XLA
        started = time.monotonic()

        def until_time_is_over() -> Iterator[dict[str, np.ndarray]]:
            while True:
                for batch in _batches(rows, point.batch_size):
                    yield batch
                    if time.monotonic() - started >= seconds:
                        return

        for _ in scorer.score_stream(until_time_is_over(), list(scorer.description.outputs)[:1]):
            sent += 1
        return sent / (time.monotonic() - started)


def requests_for(measure_s: float, requests_per_s: float) -> int:
    """How many requests to measure in about measure_s."""
    return max(FEWEST_REQUESTS, round(measure_s * requests_per_s))


def _batches(rows: Mapping[str, np.ndarray], batch_size: int) -> Iterator[dict[str, np.ndarray]]:
    """[batch_size, …] pieces of the payload, which repeats where it is too short."""
    count = len(next(iter(rows.values())))
    for start in range(0, max(count - batch_size, 0) + 1, batch_size):
        taken = np.arange(start, start + batch_size) % count
        yield {name: column[taken] for name, column in rows.items()}
