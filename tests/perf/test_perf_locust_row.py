"""Raw requests of locust -> a result row, with numbers worked out by hand."""

from __future__ import annotations

import pytest

from perf.errors import PointFailed
from perf.locust_run import result_row
from perf.points import LOCUST, Point

POINT = Point(LOCUST, 10, 2)


def request(start_s: float, latency_ms: float, error: str = "") -> dict[str, str]:
    return {"start_s": str(start_s), "latency_ms": str(latency_ms), "error": error}


def test_requests_after_the_first_second_are_counted_and_percentiles_are_exact() -> None:
    settling = [request(50.0 + i / 10, 999.0) for i in range(10)]
    measured = [request(51.0 + i / 100, float(i + 1)) for i in range(100)]
    late = [request(52.5, 999.0)]
    row = result_row(POINT, settling + measured + late, time_s=1.0, stable_within=0.1)
    assert row.requests == 100
    assert (row.p50_ms, row.p90_ms, row.p95_ms, row.p99_ms) == (50.0, 90.0, 95.0, 99.0)
    assert row.requests_per_s == pytest.approx(100 / 1.09)  # the last one starts at 0.99 s and takes 100 ms
    assert row.rows_per_s == pytest.approx(1000 / 1.09)
    assert (row.failures, row.note) == (0, "")
    assert row.is_stable is False  # latencies grow all the time


def test_failures_are_counted_and_shown_but_not_measured() -> None:
    requests = [request(i / 100, 5.0, "queue full" if i % 50 == 0 else "") for i in range(400)]
    row = result_row(POINT, requests, time_s=3.0, stable_within=0.1)
    assert row.failures == 8
    assert row.requests == 294
    assert row.note == "8 of 400 requests failed, first: queue full"
    assert row.is_stable is True


def test_a_pause_is_unstable() -> None:
    requests = [request(i / 100, 5.0) for i in range(400) if not 150 < i < 260]
    assert result_row(POINT, requests, time_s=3.0, stable_within=0.1).is_stable is False


def test_runs_without_a_success_fail_with_the_first_error() -> None:
    with pytest.raises(PointFailed, match="no request of locust succeeded: connection refused"):
        result_row(POINT, [request(i / 10, 1.0, "connection refused") for i in range(30)], 3.0, 0.1)
    with pytest.raises(PointFailed, match="sent no request"):
        result_row(POINT, [], 3.0, 0.1)
