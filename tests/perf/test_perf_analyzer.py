from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perf.analyzer import Analyzer, find_perf_analyzer
from perf.errors import PointFailed, ToolMissing
from perf.points import PERF_ANALYZER, Point, ResultRow
from perf.processes import run

POINT = Point(PERF_ANALYZER, 16, 4)
StandIn = Callable[..., Path]


def measure(binary: Path, point: Point = POINT, **settings: Any) -> ResultRow:
    return Analyzer(binary, "127.0.0.1:1", "sim", "1", Path("data.json"), **settings).measure(point, 300)


def test_figures_are_rows_per_second_and_milliseconds(stand_in: StandIn) -> None:
    row = measure(stand_in([(3200, 5000), (3210, 5010), (3190, 4990)]))
    assert row == ResultRow(
        PERF_ANALYZER, 16, 4, requests=600, requests_per_s=200.0, rows_per_s=3200.0, p50_ms=4.0, p90_ms=5.0,
        p95_ms=6.0, p99_ms=7.5, queue_ms=0.073, compute_ms=pytest.approx(0.684), is_stable=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("passes", "is_stable"),
    [
        ([(100, 10), (105, 10), (109, 10)], True),
        ([(100, 10), (105, 10), (112, 10)], False),
        ([(100, 10), (100, 12), (100, 10)], False),
        ([(100, 10), (100, 10)], False),
    ],
)
def test_a_point_is_stable_if_its_windows_agree(
    stand_in: StandIn, passes: list[tuple[float, int]], is_stable: bool
) -> None:
    assert measure(stand_in(passes), stable_within=0.1).is_stable is is_stable


def test_late_requests_of_an_open_loop_are_noted(stand_in: StandIn) -> None:
    says = "[WARNING] Perf Analyzer was not able to keep up. 34.5% of the requests were delayed."
    row = measure(stand_in([], says=says), Point(PERF_ANALYZER, 16, None, 100.0))
    assert row.note == "34.5% of the requests left late"


def test_commands_of_closed_and_open_loops() -> None:
    analyzer = Analyzer(Path("pa"), "host:1", "sim", "3", Path("data.json"))
    closed = analyzer.command(POINT, 1000, Path("out.csv"))
    assert closed[:11] == ["pa", "-m", "sim", "-x", "3", "-u", "host:1", "-i", "grpc", "-b", "16"]
    assert {"--concurrency-range=4", "--measurement-request-count=334", "--input-data=data.json"} <= set(closed)
    opened = analyzer.command(Point(PERF_ANALYZER, 1, None, 250.0), 1000, Path("out.csv"))
    assert {"--request-rate-range=250", "--request-distribution=poisson", "--async"} <= set(opened)
    assert not any("concurrency" in argument for argument in opened)


def test_its_error_is_shown(stand_in: StandIn) -> None:
    binary = stand_in(figures=None, says="error: failed to get model metadata: unknown model", code=99)
    with pytest.raises(PointFailed, match=r"code 99:\n.*unknown model"):
        measure(binary)


def test_success_without_a_row_is_a_failure(stand_in: StandIn) -> None:
    with pytest.raises(PointFailed, match="ended with code 0"):
        measure(stand_in(figures=None))


def test_a_point_that_takes_too_long_is_stopped_with_its_children(tmp_path: Path) -> None:
    program = tmp_path / "hangs"
    program.write_text(f"#!/bin/sh\nsleep 60 &\necho $! > {tmp_path}/child\nwait\n")
    program.chmod(0o755)
    started = time.monotonic()
    with pytest.raises(PointFailed, match="hangs: not done after 1 s; stopped"):
        run([str(program)], timeout_s=1.0)
    assert time.monotonic() - started < 10
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 5
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(child)


def is_running(process_id: int) -> bool:
    """A zombie that nobody has collected does not run."""
    stat = Path(f"/proc/{process_id}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_the_binary_is_found_in_the_documented_order(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = stand_in()
    tools, on_path = tmp_path / "tools" / "bin", tmp_path / "path"
    for folder in (tools, on_path):
        folder.mkdir(parents=True)
        os.link(binary, folder / "perf_analyzer")
    monkeypatch.setenv("PATH", str(on_path))
    monkeypatch.setenv("RECSERVE_TOOLS", str(tmp_path / "tools"))
    monkeypatch.setenv("RECSERVE_PERF_ANALYZER", str(binary))
    assert find_perf_analyzer(on_path / "perf_analyzer") == on_path / "perf_analyzer"
    assert find_perf_analyzer() == binary
    monkeypatch.delenv("RECSERVE_PERF_ANALYZER")
    assert find_perf_analyzer() == tools / "perf_analyzer"
    monkeypatch.setenv("RECSERVE_TOOLS", str(tmp_path / "empty"))
    assert find_perf_analyzer() == on_path / "perf_analyzer"
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolMissing, match=r"empty/bin/perf_analyzer nor on PATH\. Run `make tools`"):
        find_perf_analyzer()
    monkeypatch.setenv("RECSERVE_PERF_ANALYZER", "/nowhere/perf_analyzer")
    with pytest.raises(ToolMissing, match="RECSERVE_PERF_ANALYZER: got /nowhere/perf_analyzer"):
        find_perf_analyzer()
