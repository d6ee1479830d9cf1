"""Runs a sweep: warms up and measures point after point. A point that fails becomes a row that says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from client import GrpcTransport, Scorer, ScoringError, TlsFiles
from perf.analyzer import Analyzer
from perf.errors import MeasureError
from perf.locust_run import Locust
from perf.payloads import Columns, random_rows, write_perf_analyzer_json
from perf.points import LOCUST, PERF_ANALYZER, Point, ResultRow
from perf.warmup import requests_for, warm_up
from training.feature_spec import FeatureSpec

PAYLOAD_ROWS = 1024


@dataclass(frozen=True)
class SweepSettings:
    """measure_s: about how long a point is measured, in three windows; requests_per_point overrides it.

    warmup_s: load before each point. stable_percent: how much the windows may differ. spec_file: of the served version.
    admin_header: name and value that a server with restricted statistics asks for; perf_analyzer reads them.
    """

    url: str
    model: str
    version: str
    spec_file: Path
    measure_s: float = 4.5
    requests_per_point: int | None = None
    warmup_s: float = 1.0
    stable_percent: float = 10.0
    point_timeout_s: float = 120.0
    locust_time_s: float = 10.0
    seed: int = 0
    tls: TlsFiles | None = None
    admin_header: tuple[str, str] | None = None

    def in_words(self) -> str:
        """How it was measured, for the report."""
        length = f"{self.requests_per_point} requests" if self.requests_per_point else f"about {self.measure_s:g} s"
        return (
            f"Each perf_analyzer point: {self.warmup_s:g} s of warm-up, then three windows, together {length}; "
            f"locust: {self.locust_time_s:g} s, latencies of single requests. A point is unstable if its windows "
            f"differ by more than {self.stable_percent:g} % in throughput or mean latency. Latencies are of whole "
            "requests, seen by a client on this machine; queue and compute are the server's own means. Ids are drawn "
            f"inside the tables of feature_spec.yaml, {PAYLOAD_ROWS:,} rows, seed {self.seed}."
        )


def run_sweep(
    points: Sequence[Point],
    settings: SweepSettings,
    perf_analyzer: Path | None,
    work_dir: Path,
    say: Callable[[str], None],
) -> Iterator[ResultRow]:
    """A result row for each point, in order, as soon as it is there. say: one line of progress.

    perf_analyzer: its binary; None is enough where no point needs it. work_dir: a folder for temporary files.
    Raises ScoringError if the server does not answer at all, MeasureError if the specification does not fit it.
    """
    with Scorer(GrpcTransport(settings.url, settings.tls), settings.model, settings.version) as scorer:
        limit, inputs = scorer.description.max_batch_size, scorer.description.inputs
    rows = random_rows(FeatureSpec.load(settings.spec_file), inputs, PAYLOAD_ROWS, settings.seed)
    payload = work_dir / "payload.json"
    write_perf_analyzer_json(rows, payload)
    for number, point in enumerate(points, start=1):
        say(f"point {number} of {len(points)}: {point.name}")
        if limit is not None and point.batch_size > limit:
            row = ResultRow.failed(point, f"the server takes at most {limit} rows a request; export with more")
        else:
            row = _measured(point, settings, rows, payload, perf_analyzer)
        say(f"  {_in_short(row)}")
        yield row


def _measured(
    point: Point, settings: SweepSettings, rows: Columns, payload: Path, perf_analyzer: Path | None
) -> ResultRow:
    s = settings
    stable_within, work_dir = s.stable_percent / 100.0, payload.parent
    try:
        requests_per_s = warm_up(s.url, s.model, s.version, rows, point, s.warmup_s, s.tls)
        if point.tool == LOCUST:
            locust = Locust(
                s.url, s.model, s.version, s.spec_file, s.locust_time_s, s.seed, stable_within, work_dir, s.tls
            )
            return locust.measure(point)
        if point.tool != PERF_ANALYZER or perf_analyzer is None:
            raise MeasureError(f"{point.name}: no binary of that tool was given")
        wanted = s.requests_per_point or requests_for(s.measure_s, point.request_rate or requests_per_s)
        analyzer = Analyzer(
            perf_analyzer, s.url, s.model, s.version, payload, stable_within, s.point_timeout_s, work_dir, s.tls,
            s.admin_header,
        )  # fmt: skip
        return analyzer.measure(point, wanted)
    except (MeasureError, ScoringError) as error:
        return ResultRow.failed(point, str(error))


def _in_short(row: ResultRow) -> str:
    if row.rows_per_s is None:
        return f"failed: {row.error}"
    stable = "" if row.is_stable else ", unstable"
    return f"{row.rows_per_s:,.0f} rows/s, p50 {row.p50_ms:.2f} ms, p99 {row.p99_ms:.2f} ms{stable}"
