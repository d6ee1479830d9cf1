"""Against a real Triton, with the real perf_analyzer and the real locust."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from perf.analyzer import find_perf_analyzer
from perf.cli import sweep
from perf.errors import MeasureError, PointFailed, ToolMissing
from perf.points import LOCUST, PERF_ANALYZER, Point, ResultRow
from perf.sweep import SweepSettings, run_sweep
from perf.warmup import requests_for, warm_up

server = pytest.mark.server
SHORT = ("--measure_s", "0.5", "--warmup_s", "0.2")


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(sweep, [str(a) for a in arguments])


def results(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open() as stream:
        return list(csv.DictReader(stream))


def measured(row: ResultRow) -> tuple[float, float, float, float, float]:
    figures = (row.rows_per_s, row.p50_ms, row.p90_ms, row.p95_ms, row.p99_ms)
    assert all(figure is not None for figure in figures), row
    return figures  # type: ignore[return-value]


@server
@pytest.mark.slow
def test_real_points_of_both_tools(tiny_server: str, tiny_repository: Path, tmp_path: Path) -> None:
    points = [Point(PERF_ANALYZER, 8, 2), Point(PERF_ANALYZER, 4, None, 100.0), Point(LOCUST, 8, 2)]
    spec_file = tiny_repository / "sim" / "1" / "feature_spec.yaml"
    settings = SweepSettings(tiny_server, "sim", "1", spec_file, measure_s=0.5, warmup_s=0.2, locust_time_s=2.0)
    said: list[str] = []
    closed, opened, locust = run_sweep(points, settings, find_perf_analyzer(), tmp_path, said.append)
    for row in (closed, opened, locust):
        rows_per_s, p50, p90, p95, p99 = measured(row)
        assert 0 < p50 <= p90 <= p95 <= p99 < 1000
        assert row.requests >= 50
        assert row.requests_per_s == pytest.approx(rows_per_s / row.batch_size)
        assert row.failures == 0
    assert closed.compute_ms is not None
    assert 0 < closed.compute_ms < measured(closed)[4]
    assert opened.requests_per_s == pytest.approx(100, rel=0.35)  # at random times
    # two requests at a time: Little's law ties throughput to latency
    for row in (closed, locust):
        assert 0.5 < row.requests_per_s * row.p50_ms / 1e3 < 2.6  # type: ignore[operator]
    assert said[0] == "point 1 of 3: perf_analyzer, batch 8, 2 in flight"
    assert "rows/s" in said[1]


@server
@pytest.mark.slow
def test_sweep_command_writes_tables_and_report(tiny_server: str, tiny_repository: Path, tmp_path: Path) -> None:
    summary = {"model": "sim", "version": "1", "auc": 0.87651, "rows": 678}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    result = run(
        "--model_repository", tiny_repository, "--url", tiny_server, "--batch_sizes", "1,16", "--concurrencies", "2",
        "--locust_time_s", "0", "--output_dir", tmp_path / "out", "--score_summary", tmp_path / "summary.json", *SHORT,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for fact in ("12,345", "678", "0.8765", "1.2e-07 on 256 rows", "0.8765 on 678 rows"):
        assert fact in result.stdout
    assert "point 2 of 2: perf_analyzer, batch 16, 2 in flight" in result.stderr
    assert result.stdout.splitlines()[-2] == f"HTML report: {tmp_path / 'out' / 'report.html'}"
    assert [(r["tool"], r["batch_size"], r["concurrency"]) for r in results(tmp_path / "out")] == [
        ("perf_analyzer", "1", "2"),
        ("perf_analyzer", "16", "2"),
    ]
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["report.html", "results.csv"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "triton 2.51.0" in page


@server
def test_warm_up_tells_the_rate_even_from_one_request(tiny_server: str, tiny_model: Any) -> None:
    rows = tiny_model.served(tiny_model.rows(20))
    rows = {name: column.reshape(20, -1) for name, column in rows.items()}
    for batch_size in (8, 32):  # the payload repeats where it is too short
        rate = warm_up(tiny_server, "sim", "1", rows, Point(PERF_ANALYZER, batch_size, 2), 0.0)
        assert 1 < rate < 20_000
    assert requests_for(2.0, 400.0) == 800
    assert requests_for(2.0, 1.0) == 150


@server
def test_a_failed_point_keeps_the_others_and_ends_in_an_error(
    tiny_server: str, tiny_repository: Path, tmp_path: Path
) -> None:
    result = run(
        "--model_repository", tiny_repository, "--url", tiny_server, "--batch_sizes", "2,64", "--concurrencies", "1",
        "--locust_time_s", "0", "--output_dir", tmp_path, *SHORT,
    )  # fmt: skip
    assert isinstance(result.exception, PointFailed)
    assert "1 of 2 points failed: perf_analyzer, batch 64, 1 in flight" in str(result.exception)
    assert "the server takes at most 32 rows a request" in result.stdout
    good, bad = results(tmp_path)
    assert float(good["rows_per_s"]) > 0
    assert "at most 32 rows" in bad["error"]


@server
def test_what_perf_analyzer_says_is_in_the_row(
    tiny_server: str, tiny_repository: Path, stand_in: Any, tmp_path: Path
) -> None:
    binary = stand_in(figures=None, says="error: something is off", code=3)
    result = run(
        "--model_repository", tiny_repository, "--url", tiny_server, "--batch_sizes", "2", "--concurrencies", "1",
        "--locust_time_s", "0", "--output_dir", tmp_path, "--perf_analyzer", binary, *SHORT,
    )  # fmt: skip
    assert isinstance(result.exception, PointFailed)
    assert "perf_analyzer ended with code 3:\nerror: something is off" in result.stdout


@server
def test_locusts_own_error_is_in_the_row(tiny_server: str, tmp_path: Path, tiny_repository: Path) -> None:
    from perf.locust_run import Locust

    locust = Locust(tiny_server, "sim", "1", tmp_path / "none.yaml", 1.0)
    with pytest.raises(PointFailed, match=r"code 1:\nlocustfile: cannot start: .*none\.yaml'$"):
        locust.measure(Point(LOCUST, 4, 1))


@server
def test_a_repository_that_is_not_the_servers(tiny_server: str, tmp_path: Path) -> None:
    result = run("--model_repository", tmp_path, "--url", tiny_server, "--output_dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert isinstance(result.exception, MeasureError)
    assert "serves sim version 1" in str(result.exception)
    assert "--model_repository" in str(result.exception)


def test_a_missing_perf_analyzer_is_said_before_anything_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECSERVE_TOOLS", str(tmp_path))
    monkeypatch.delenv("RECSERVE_PERF_ANALYZER", raising=False)
    monkeypatch.setenv("PATH", "")
    result = run("--url", "127.0.0.1:9")
    assert isinstance(result.exception, ToolMissing)
    assert "make tools" in str(result.exception)


@pytest.mark.parametrize("value", ["1,x", "0", "1,-2"])
def test_lists_are_checked(value: str) -> None:
    result = run("--batch_sizes", value)
    assert result.exit_code == 2
    assert "Invalid value for '--batch_sizes'" in result.output


def test_a_sweep_of_nothing_is_refused() -> None:
    result = run("--batch_sizes", "", "--locust_time_s", "0")
    assert isinstance(result.exception, MeasureError)
    assert "nothing to measure" in str(result.exception)


def test_importing_perf_never_loads_tensorflow() -> None:
    modules = "perf.cli, perf.sweep, perf.report, perf.plots, perf.facts, perf.served, perf.locust_run"
    program = f"import sys; import {modules}; sys.exit('tensorflow' in sys.modules or 'locust' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
