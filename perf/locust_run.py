"""A headless locust run of perf/locustfile.py -> a result row. A process of its own: locust patches the interpreter."""

from __future__ import annotations

import csv
import math
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client import TlsFiles
from perf.errors import PointFailed
from perf.points import Point, ResultRow
from perf.processes import run

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
SETTLE_S = 1.0  # users start and connect; not measured
START_AND_STOP_S = 60.0
WINDOWS = 3
PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Locust:
    """What a run needs besides its point. spec_file: the served version's feature_spec.yaml. time_s: measured time.

    work_dir: for temporary files; None is the system's folder.
    """

    url: str
    model: str
    version: str
    spec_file: Path
    time_s: float
    seed: int = 0
    stable_within: float = 0.1
    work_dir: Path | None = None
    tls: TlsFiles | None = None

    def measure(self, point: Point) -> ResultRow:
        """Raises PointFailed with locust's own words, such as why a user could not start, or with the first error if no
        request succeeded.
        """
        with tempfile.TemporaryDirectory(prefix="locust-", dir=self.work_dir) as folder:
            file = Path(folder) / "requests.csv"
            finished = run(self.command(point, file), self.time_s + SETTLE_S + START_AND_STOP_S)
            if finished.code != 0 or not file.is_file():
                raise PointFailed(f"locust ended with code {finished.code}:\n{_complaint(finished.output)}")
            with file.open(newline="", encoding="utf-8") as stream:
                requests = list(csv.DictReader(stream))
        return result_row(point, requests, self.time_s, self.stable_within)

    def command(self, point: Point, file: Path) -> list[str]:
        users = str(point.concurrency)
        whole_seconds = math.ceil(self.time_s + SETTLE_S)  # locust takes no fractions
        return [
            sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--host", self.url,
            "--users", users, "--spawn-rate", users, "--run-time", f"{whole_seconds}s",
            "--stop-timeout", "10", "--exit-code-on-error", "0", "--only-summary", "--loglevel", "WARNING",
            "--model", self.model, "--model_version", self.version, "--feature_spec", str(self.spec_file),
            "--batch_size", str(point.batch_size), "--seed", str(self.seed), "--requests_file", str(file),
            *_tls_arguments(self.tls),
        ]  # fmt: skip


def _tls_arguments(tls: TlsFiles | None) -> list[str]:
    if tls is None:
        return []
    files = {"--tls_ca": tls.root_certificates, "--tls_cert": tls.certificate_chain, "--tls_key": tls.private_key}
    return ["--tls", *(argument for option, file in files.items() if file for argument in (option, str(file)))]


def _complaint(output: str) -> str:
    """What locust logged as errors, or else its last lines."""
    lines = output.strip().splitlines()
    errors = [line.partition("/ERROR/")[2] for line in lines if "/ERROR/" in line]
    return "\n".join(errors[:3] or lines[-8:])


def result_row(point: Point, requests: list[dict[str, str]], time_s: float, stable_within: float) -> ResultRow:
    """requests: start_s, latency_ms and error of each. Counted are those that start after the users have settled."""
    if not requests:
        raise PointFailed("locust sent no request; give it more time (--locust_time_s)")
    start_s = np.array([float(r["start_s"]) for r in requests])
    latency_ms = np.array([float(r["latency_ms"]) for r in requests])
    errors = [r["error"] for r in requests]
    succeeded = np.array([not error for error in errors])
    first_error = next((error for error in errors if error), "")
    begin = start_s.min() + SETTLE_S
    measured = succeeded & (start_s >= begin) & (start_s < begin + time_s)
    if not measured.any():
        raise PointFailed(f"no request of locust succeeded: {first_error or 'none started after the first second'}")
    starts, latencies = start_s[measured] - begin, latency_ms[measured]
    # from the first start to the last answer, which may come after the time is over
    seconds = float((starts + latencies / 1e3).max() - starts.min())
    p50, p90, p95, p99 = (float(p) for p in np.percentile(latencies, PERCENTILES, method="inverted_cdf"))
    failures = int((~succeeded).sum())
    return ResultRow(
        tool=point.tool,
        batch_size=point.batch_size,
        concurrency=point.concurrency,
        requests=len(latencies),
        failures=failures,
        requests_per_s=len(latencies) / seconds,
        rows_per_s=len(latencies) / seconds * point.batch_size,
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        is_stable=_windows_agree(starts, latencies, seconds, stable_within),
        note=f"{failures} of {len(requests)} requests failed, first: {first_error}" if failures else "",
    )


def _windows_agree(starts: np.ndarray, latencies: np.ndarray, seconds: float, stable_within: float) -> bool:
    """The same test as for perf_analyzer: throughput and mean latency of three windows, one after another."""
    window = np.minimum((starts - starts.min()) / (seconds / WINDOWS), WINDOWS - 1).astype(int)
    counts = np.bincount(window, minlength=WINDOWS)
    if counts.min() == 0:
        return False
    means = np.bincount(window, latencies, WINDOWS) / counts
    return all(bool(f.max() <= f.min() * (1 + stable_within)) for f in (counts, means))
