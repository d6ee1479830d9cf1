"""The page, the plots and the tables of a report."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.training.report.runs import make_run, make_scores
from training.metrics import roc_auc
from training.report.comparison import compare
from training.report.page import html_text
from training.report.plots import COLOURS, plots, roc_curve, smoothed
from training.report.runs import load_runs
from training.report.tables import Table, settings_table


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]


def test_the_page_needs_nothing_else_and_escapes_what_it_is_given(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", make_scores(), model_type="<img src=x onerror=alert(1)>", note="a|b&<c>")
    loaded = load_runs([run, run], ["<script>alert(1)</script>", "$x$ _b"])
    comparison = compare(loaded, 10, 0)
    images = plots(comparison.runs)
    text = html_text(comparison, images)
    page = Page(text)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert page.tags.count("img") == len(images) == 4
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert {base64.b64decode(link.split(",")[1]) for link in page.links} == set(images.values())
    assert "&lt;script&gt;alert(1)" in text
    assert "a|b&amp;&lt;c&gt;" in text
    assert "@import" not in text
    assert "url(" not in text


def test_every_plot_shows_its_curve(tmp_path: Path) -> None:
    """In the colour of the first run, as pixels: a panel without its line would not have any."""
    from matplotlib.colors import to_rgb
    from matplotlib.image import imread

    run = load_runs([make_run(tmp_path / "r", make_scores())])
    images = plots(compare(run, 10, 0).runs)
    assert list(images) == ["loss.png", "auc.png", "throughput.png", "roc.png"]
    for name, panels in {"loss.png": 2, "auc.png": 2, "throughput.png": 1, "roc.png": 1}.items():
        pixels = imread(io.BytesIO(images[name]))[:, :, :3]
        for panel in np.array_split(pixels, panels, axis=1):
            is_line = np.abs(panel - to_rgb(COLOURS[0])).max(axis=2) < 0.02
            assert is_line.any(axis=0).sum() > 0.3 * panel.shape[1], name


def test_smoothing_is_a_centred_mean_that_skips_what_is_missing() -> None:
    values = np.random.default_rng(0).normal(size=100)
    values[[0, 50]] = np.nan
    expected = [np.nanmean(values[max(0, i - 4) : i + 5]) for i in range(100)]
    assert smoothed(values) == pytest.approx(expected)
    assert smoothed(np.array([3.0])) == pytest.approx([3.0])
    assert np.isnan(smoothed(np.full(3, np.nan))).all()


def test_the_area_under_the_roc_curve_is_the_auc() -> None:
    scores = make_scores(rows=300)
    for logit in (scores["logit"], np.round(scores["logit"])):  # with ties too
        false, true = roc_curve(scores["label"], logit)
        assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
        area = np.sum(np.diff(false) * (true[1:] + true[:-1]) / 2)
        assert area == pytest.approx(roc_auc(scores["label"], logit))


def test_settings_differ_only_where_two_runs_logged_other_values(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "a", seed=1),
        make_run(tmp_path / "b", seed=1, k=50),
        make_run(tmp_path / "c", seed=2, amp=True),
        make_run(tmp_path / "d", seed=2, amp=False, save_checkpoint_path="d"),
    ]
    table = settings_table(compare(load_runs(runs), 10, 0))
    assert table.headings == ["setting", "a", "b", "c", "d"]
    assert table.rows == [["seed", "1", "1", "2", "2"], ["amp", "-", "-", "True", "False"]]


def test_markdown_is_aligned_and_keeps_its_columns() -> None:
    lines = Table("t", ["run", "n"], [["a|b", "1"], ["c", "1,000"]]).markdown().splitlines()
    assert lines == ["| run  |     n |", "| ---- | ----: |", "| a\\|b |     1 |", "| c    | 1,000 |"]


def test_more_runs_than_colours_are_drawn(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"run_with_a_long_name_{n}", make_scores(seed=n)) for n in range(len(COLOURS) + 2)]
    assert len(plots(compare(load_runs(runs), 10, 0).runs)) == 4
