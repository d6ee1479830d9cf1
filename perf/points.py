"""A sweep is a table: points in, result rows out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from perf.errors import MeasureError

# perf_analyzer draws the schedule of an open loop in whole nanoseconds before it sends: at 1e8 requests a second that
# takes longer than a point, above 1e9 it crashes. No client sends a hundredth of this.
HIGHEST_REQUEST_RATE = 1e6
PERF_ANALYZER, LOCUST = "perf_analyzer", "locust"


@dataclass(frozen=True)
class Point:
    """What to measure. batch_size: rows of one request.

    concurrency: requests on their way at the same time (for locust: users). None with an open loop, which sends
    request_rate requests a second at random (Poisson) times, however slow the answers are.
    """

    tool: str
    batch_size: int
    concurrency: int | None = None
    request_rate: float | None = None

    @property
    def load(self) -> str:
        """The load in words, such as "4 in flight"."""
        if self.request_rate is not None:
            return f"{self.request_rate:g} requests/s"
        return f"{self.concurrency} {'users' if self.tool == LOCUST else 'in flight'}"

    @property
    def name(self) -> str:
        return f"{self.tool}, batch {self.batch_size}, {self.load}"


@dataclass(frozen=True)
class ResultRow:
    """One measured point.

    requests: measured ones, which the figures are of; failures: others, which they are not.
    Latencies are of whole requests, as the client sees them. queue_ms, compute_ms: means of the server's own times,
    None where the tool does not see them. is_stable: throughput and latency of the measuring windows agree.
    note: what else the reader must know. error: why nothing was measured.
    """

    tool: str
    batch_size: int
    concurrency: int | None = None
    request_rate: float | None = None
    requests: int = 0
    failures: int = 0
    requests_per_s: float | None = None
    rows_per_s: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    queue_ms: float | None = None
    compute_ms: float | None = None
    is_stable: bool | None = None
    note: str = ""
    error: str = ""

    @property
    def point(self) -> Point:
        return Point(self.tool, self.batch_size, self.concurrency, self.request_rate)

    @classmethod
    def failed(cls, point: Point, error: str) -> ResultRow:
        return cls(point.tool, point.batch_size, point.concurrency, point.request_rate, error=error)


RESULT_COLUMNS = tuple(field.name for field in fields(ResultRow))


def grid(batch_sizes: Sequence[int], concurrencies: Sequence[int], request_rates: Sequence[float]) -> list[Point]:
    """perf_analyzer's points: each batch size with each concurrency, then with each rate.

    Raises MeasureError for a rate that perf_analyzer cannot send.
    """
    for rate in request_rates:
        if not 0 < rate <= HIGHEST_REQUEST_RATE:
            raise MeasureError(
                f"--request_rates: got {rate:g} requests/s; expected more than 0 and at most "
                f"{HIGHEST_REQUEST_RATE:,.0f}. Give rates around what the server answers with --concurrencies."
            )
    return [
        *(Point(PERF_ANALYZER, batch, concurrency) for batch in batch_sizes for concurrency in concurrencies),
        *(Point(PERF_ANALYZER, batch, None, rate) for batch in batch_sizes for rate in request_rates),
    ]
