from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from perf.errors import MeasureError
from perf.facts import machine_facts, model_facts, read_json
from perf.points import LOCUST, PERF_ANALYZER, RESULT_COLUMNS, Point, ResultRow, grid
from perf.report import html_text, write_report
from perf.tables import markdown_facts, markdown_results, remarks

ROWS = [
    ResultRow(PERF_ANALYZER, 1, 1, None, 900, 0, 1234.5, 1234.5, 0.8, 1.1, 1.3, 2.25, 0.01, 0.5, True),
    ResultRow(PERF_ANALYZER, 16, 4, None, 800, 0, 700.0, 11200.0, 5.5, 7.0, 8.0, 12.0, 1.0, 4.0, False),
    ResultRow(PERF_ANALYZER, 16, None, 50.0, 200, 0, 49.9, 798.4, 1.5, 2.0, 2.5, 3.0, 0.1, 1.0, True),
    ResultRow.failed(Point(PERF_ANALYZER, 64, 4), "the server said <no> & left"),
    ResultRow(
        LOCUST, 16, 4, None, 3000, 2, 300.0, 4800.0, 13.0, 15.0, 17.0, 21.0, None, None, True, "2 of 3002 failed"
    ),
]
FACTS = {"model": "sim, version 3", "test AUC": "0.8123"}
MACHINE = {"processor": "a chip, 2 cores", "date": "2024-11-21 04:00 UTC"}


def test_markdown_is_an_aligned_table_with_every_point() -> None:
    lines = markdown_results(ROWS).splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert len({len(line) for line in lines}) == 1
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    assert cells[0] == [
        "tool", "batch", "load", "requests", "rows/s", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "queue ms", "compute ms",
        "stable",
    ]  # fmt: skip
    assert cells[2] == [
        "perf_analyzer", "1", "1 in flight", "900", "1,234", "0.80", "1.10", "1.30", "2.25", "0.01", "0.50", "yes",
    ]  # fmt: skip
    assert cells[3][-1] == "unstable"
    assert cells[4][2] == "50 requests/s"
    assert cells[5] == ["perf_analyzer", "64", "4 in flight", *["-"] * 8, "failed"]
    assert cells[6][2:4] == ["4 users", "3,000"]
    assert "| test AUC | 0.8123         |" in markdown_facts(FACTS)


def test_remarks_name_their_point() -> None:
    assert remarks(ROWS) == [
        "perf_analyzer, batch 64, 4 in flight: the server said <no> & left",
        "locust, batch 16, 4 users: 2 of 3002 failed",
    ]


def test_csv_keeps_every_figure(tmp_path: Path) -> None:
    report = write_report(tmp_path / "new", ROWS, FACTS, MACHINE, "measured so")
    with report.csv.open() as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == RESULT_COLUMNS
    assert (rows[0]["rows_per_s"], rows[0]["p99_ms"], rows[0]["is_stable"]) == ("1234.5", "2.25", "True")
    assert (rows[3]["rows_per_s"], rows[3]["error"]) == ("", "the server said <no> & left")
    assert sorted(f.name for f in (tmp_path / "new").iterdir()) == ["report.html", "results.csv"]


class Page(HTMLParser):
    """Elements and attributes of a page; unclosed elements stay in `open`."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href") and v]
        self.ids += [v for k, v in attrs if k == "id" and v]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()


def test_the_page_is_whole_and_needs_no_other_file() -> None:
    text = html_text(ROWS, FACTS, MACHINE, "measured <so>")
    page = Page(text)
    assert page.open == []
    assert page.tags.count("svg") == 2
    assert all(link.startswith("#") for link in page.links)  # markers inside the plots
    assert "url(http" not in text
    assert "@import" not in text
    assert page.tags.count("tr") == 1 + len(ROWS)
    assert "script" not in page.tags


def test_the_page_shows_facts_rows_and_escaped_remarks() -> None:
    text = html_text(ROWS, FACTS, MACHINE, "measured <so>")
    for shown in (
        "sim, version 3",
        "0.8123",
        "a chip, 2 cores",
        "11,200",
        "12.00",
        ">requests<",
        ">3,000<",
        "measured &lt;so&gt;",
    ):
        assert shown in text
    assert "the server said &lt;no&gt; &amp; left" in text
    assert re.search(r'<tr class="unstable">.*11,200.*unstable', text)
    assert re.search(r'<tr class="failed">', text)


def test_the_plots_show_every_measured_point() -> None:
    text = html_text(ROWS, FACTS, MACHINE, "")
    for label in ("batch 1<", "batch 16<", "locust, batch 16<", "rows per second", "latency of a request, ms"):
        assert label in text
    for label in ("1 x 1", "16 x 4", "16 x 50/s"):
        assert f">{label}<" in text
    assert ">64 x 4<" not in text  # it failed


def test_a_sweep_that_measured_nothing_still_has_a_page() -> None:
    failed = [ResultRow.failed(Point(PERF_ANALYZER, 1, 1), "no luck")]
    text = html_text(failed, FACTS, MACHINE, "")
    assert "no luck" in text
    assert text.count("no point of this kind was measured<") == 2


def test_facts_of_a_manifest_and_a_score_summary() -> None:
    manifest = {
        "rows": {"train": 12345, "test": 678},
        "metrics": {"test_auc": 0.87654},
        "parity": {"rows": 256, "max_abs_difference": 1.2e-7},
        "xla": True,
    }
    facts = model_facts("sim", "3", manifest, {"model": "sim", "version": "3", "auc": 0.876543, "rows": 678})
    assert facts == {
        "model": "sim, version 3",
        "train rows": "12,345",
        "test rows": "678",
        "test AUC": "0.8765",
        "parity": "eager and SavedModel differ by at most 1.2e-07 on 256 rows",
        "XLA": "yes",
        "AUC through the server": "0.8765 on 678 rows",
    }
    other = model_facts("sim", "3", {}, {"model": "sim", "version": "2", "auc": None, "rows": 5})
    assert other["test AUC"] == other["parity"] == "not known"
    assert other["AUC through the server"] == "not known on 5 rows (of sim, version 2)"


def test_a_broken_json_file_is_named(tmp_path: Path) -> None:
    for content in ("{", "[1]"):
        (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(MeasureError, match=r"manifest\.json"):
            read_json(tmp_path / "manifest.json")
    (tmp_path / "manifest.json").write_text(json.dumps({"a": 1}))
    assert read_json(tmp_path / "manifest.json") == {"a": 1}


def test_machine_facts_without_a_server() -> None:
    facts = machine_facts("127.0.0.1:9")
    assert facts["server"] == "not known, at 127.0.0.1:9"
    assert re.search(r", \d+ cores", facts["processor"])
    assert "tritonclient" in facts["client"]


def test_a_grid_is_every_batch_size_with_every_load() -> None:
    points: list[Any] = [(p.batch_size, p.concurrency, p.request_rate) for p in grid([1, 8], [1, 4], [50.0])]
    assert points == [(1, 1, None), (1, 4, None), (8, 1, None), (8, 4, None), (1, None, 50.0), (8, None, 50.0)]


@pytest.mark.parametrize("rate", [1.1e6, 1e10, float("inf"), float("nan"), 0.0, -1.0])
def test_a_rate_that_no_client_sends_is_refused(rate: float) -> None:
    with pytest.raises(MeasureError, match=r"--request_rates: got .* requests/s; expected more than 0 and at most 1,0"):
        grid([1], [1], [50.0, rate])
    assert grid([1], [], [1e6])[0].request_rate == 1e6
