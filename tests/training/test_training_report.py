"""`recserve report`: logs as DLLogger writes them and as accidents leave them, figures, plots, page."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from training.dllogger import DLLogger
from training.metrics import grouped_auc, log_loss, roc_auc
from training.report.cli import report
from training.report.comparison import compare
from training.report.errors import ReportError
from training.report.log_file import read_log
from training.report.page import figures_json, html_text, write_report
from training.report.plots import COLOURS, plots, roc_curve, smoothed
from training.report.runs import find_log, load_runs
from training.report.score_file import TestScores, on_the_rows_of, read_scores
from training.report.tables import Table, epochs_table, runs_table, settings_table

STEPS = 30


def make_scores(rows: int = 200, lift: float = 1.0, seed: int = 0) -> dict[str, np.ndarray]:
    """The same rows for each seed, a positive and a negative per user; other logits."""
    label = np.tile(np.float32([1, 0]), rows // 2)
    hard = np.random.default_rng(99).normal(size=rows)
    logit = lift * label + hard + 0.3 * np.random.default_rng(seed).normal(size=rows)
    return {"label": label, "logit": logit.astype(np.float32), "user": np.repeat(np.arange(rows // 2), 2)}


def make_run(
    folder: Path,
    scores: dict[str, np.ndarray] | None = None,
    epochs: int = 2,
    finished: bool = True,
    **parameters: Any,
) -> Path:
    """A results_dir as training leaves it; test_auc of the last epoch is that of the scores."""
    test_auc = 0.7 if scores is None else roc_auc(scores["label"], scores["logit"])
    with DLLogger(folder / "log.json") as log:
        log.parameters({"model_type": "sim", "lr": 0.01, "results_dir": str(folder), **parameters})
        log.metadata("throughput", unit="samples/s")
        for epoch in range(1, epochs + 1):
            for step in range(1, STEPS + 1):
                loss = 1 / (epoch * STEPS + step)
                log.log(
                    (epoch, step), {"classification_loss": loss, "total_loss": 2 * loss, "samples/s": 1000.0 + step}
                )
            auc = test_auc - 0.01 * (epochs - epoch)
            log.log(
                (epoch,),
                {"throughput": 1000.0 * epoch, "time": 2.0, "train_auc": 0.8, "test_auc": auc, "test_loss": 0.5},
            )
        if finished:
            log.log((), {"time_to_train": 5.0, "train_auc": 0.8, "test_auc": test_auc, "test_loss": 0.5})
    if scores is not None:
        np.savez(folder / "test_scores.npz", **scores)
    return folder


def run_report(*arguments: Path | str) -> Result:
    return CliRunner().invoke(report, [str(a) for a in arguments])


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]


def test_the_command_compares_two_runs(tmp_path: Path) -> None:
    first, second = make_scores(seed=1), make_scores(lift=2.0, seed=2)
    runs = [make_run(tmp_path / "sim", first), make_run(tmp_path / "din", second, model_type="din", lr=0.02)]
    out = tmp_path / "out"
    done = run_report(*runs, "--output_dir", out, "--resamples", "100")
    assert done.exit_code == 0, done.output
    assert {p.name for p in out.iterdir()} == {
        "report.html", "report.json", "loss.png", "auc.png", "throughput.png", "roc.png",
    }  # fmt: skip
    auc = roc_auc(second["label"], second["logit"])
    assert re.search(rf"\| din +\| din +\| yes +\| +2 \| +0.8000 \| +{auc:.4f} \| 0.0\d+ \|", done.output)
    assert re.search(r"\| din +\| higher +\| +\+0\.\d{4} \| +\+0\.\d{4} \| +\+0\.\d{4} \|", done.output)
    assert re.search(r"\| lr +\| 0.01 +\| 0.02 +\|", done.output)
    assert "results_dir" not in done.output

    figures = json.loads((out / "report.json").read_text())
    assert figures["runs"][1]["test_scores"] == pytest.approx(
        {
            "rows": 200,
            "users": 100,
            "epoch": None,
            "auc": auc,
            "auc_standard_error": figures["runs"][1]["test_scores"]["auc_standard_error"],
            "gauc": grouped_auc(second["label"], second["logit"], second["user"]),
            "log_loss": log_loss(second["label"], second["logit"]),
        }
    )
    difference = figures["differences"][0]
    assert (difference["run"], difference["to"]) == ("din", "sim")
    assert difference["difference"] == pytest.approx(auc - roc_auc(first["label"], first["logit"]))
    assert 0 < difference["low"] < difference["difference"] < difference["high"]
    assert figures["settings_that_differ"] == {"model_type": ["sim", "din"], "lr": [0.01, 0.02]}
    assert figures["runs"][0]["samples_per_s"] == 1500
    assert figures["runs"][0]["seconds"] == 5
    assert [e["epoch"] for e in figures["runs"][0]["epochs"]] == [1, 2]

    again = run_report(*runs, "--output_dir", out, "--resamples", "100")
    assert again.output == done.output
    assert json.loads((out / "report.json").read_text()) == figures


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


def test_a_damaged_line_is_left_out_and_told(tmp_path: Path) -> None:
    log = make_run(tmp_path / "r") / "log.json"
    lines = log.read_text().splitlines()
    lines[3] = lines[3][:40]
    lines[4:4] = [
        "Traceback (most recent call last):",
        "DLLL [1, 2]",
        'DLLL {"type": "LOG", "step": [1, 2, 3], "data": {}}',
    ]
    log.write_bytes("\n".join(lines).encode() + b"\n\xff\xfe\n\n")
    read = read_log(log)
    assert read.finished
    assert len(read.steps) == 2 * STEPS - 1
    assert read.remarks == ["5 lines are not in DLLogger's format and left out: line 4, 5, 6, 7, 69"]


def test_a_run_that_still_goes_on_is_reported_as_far_as_it_got(tmp_path: Path) -> None:
    log = make_run(tmp_path / "r", finished=False) / "log.json"
    text = log.read_text()
    log.write_text(text[: len(text) - 60])  # in the middle of epoch 2's line
    done = run_report(tmp_path / "r", "--output_dir", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "- r: the last line is not complete: the run still goes on, or it was killed" in done.output
    assert "- r: there is no summary line" in done.output
    assert re.search(r"\| r +\| sim +\| no +\| +1 \|", done.output)
    assert not json.loads((tmp_path / "out/report.json").read_text())["runs"][0]["finished"]


def test_a_run_in_its_first_epoch_has_curves_and_no_epochs(tmp_path: Path) -> None:
    with DLLogger(tmp_path / "r/log.json") as log:
        log.parameters({"model_type": "dien"})
        log.log((1, 1), {"total_loss": None, "samples/s": 10.0})
        log.log((1, 2), {"total_loss": 0.5, "samples/s": 30.0})
    comparison = compare(load_runs([tmp_path / "r"]), 10, 0)
    assert comparison.runs[0].throughput == 20
    assert not epochs_table(comparison).rows
    assert list(plots(comparison.runs)) == ["loss.png", "throughput.png"]
    assert figures_json(comparison)["runs"][0]["seconds"] is None


def test_a_log_of_inference_is_reported_too(tmp_path: Path) -> None:
    with DLLogger(tmp_path / "r/log.json") as log:
        log.parameters({"model_type": "sim", "mode": "inference"})
        log.log((1, 1), {"samples/s": 10.0})
        log.log((), {"throughput": 42.0, "time": 3.0, "latency_mean": 1.0})
    entry = compare(load_runs([tmp_path / "r"]), 10, 0).runs[0]
    assert (entry.throughput, entry.seconds) == (42, 3)


def test_a_resumed_runs_steps_are_counted_from_the_very_beginning(tmp_path: Path) -> None:
    with DLLogger(tmp_path / "log.json") as log:
        for step in ((3, 1), (3, 2), (4, 1)):
            log.log(step, {"total_loss": 1.0})
    assert read_log(tmp_path / "log.json").step_numbers == [5, 6, 7]


def test_a_log_that_was_appended_to_is_not_finished_before_its_last_run(tmp_path: Path) -> None:
    log = make_run(tmp_path / "r") / "log.json"
    log.write_text(log.read_text() + log.read_text().splitlines()[0] + "\n")
    assert not read_log(log).finished


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no step, epoch or summary line. The run has not got to its first step"),
        ("hello\n", r"1 line is not in DLLogger's format and left out: line 1\)"),
        ('DLLL {"type": "LOG", "step": "PARAMETER", "data": {"lr": 1}}\n', "holds no step"),
    ],
)
def test_a_log_without_figures_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "log.json").write_text(content)
    with pytest.raises(ReportError, match=message):
        load_runs([tmp_path])


def test_paths_without_a_log_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="there is no such folder or file; expected a run's results_dir"):
        find_log(tmp_path / "nowhere")
    with pytest.raises(ReportError, match=r"there is no log.json, and no other log; name the run's log file"):
        find_log(tmp_path)
    log = make_run(tmp_path / "r") / "log.json"
    (tmp_path / "r/best.json").write_text("{}")
    other = log.rename(tmp_path / "r/mine.json")
    assert find_log(tmp_path / "r") == find_log(other) == other
    (tmp_path / "r/theirs.json").write_text("DLLL ")
    with pytest.raises(ReportError, match=r"2 logs of other names: mine.json, theirs.json"):
        find_log(tmp_path / "r")


def test_names(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / place) for place in ("a/x", "b/x", "b/y")]
    assert [r.name for r in load_runs(runs[1:])] == ["x", "y"]
    assert [r.name for r in load_runs(runs)] == ["a/x", "b/x", "b/y"]
    assert [r.name for r in load_runs([runs[0], runs[0] / "log.json"])] == ["x", "x (2)"]
    second = runs[0] / "second.json"
    second.write_text((runs[0] / "log.json").read_text())
    assert [r.name for r in load_runs([runs[0], second])] == ["x/log", "x/second"]
    assert [r.name for r in load_runs(runs[:2], ["one", "two"])] == ["one", "two"]
    with pytest.raises(ReportError, match="expected one for each of the 2 runs, got 1: one"):
        load_runs(runs[:2], ["one"])
    with pytest.raises(ReportError, match="expected different names for the runs, got 'one', 'one'"):
        load_runs(runs[:2], ["one", "one"])


def test_runs_with_other_test_rows_are_not_compared(tmp_path: Path) -> None:
    no_user = make_scores()
    del no_user["user"]
    runs = [
        make_run(tmp_path / "none"),
        make_run(tmp_path / "base", make_scores(seed=1)),
        make_run(tmp_path / "short", make_scores(rows=100)),
        make_run(tmp_path / "labels", {**make_scores(), "user": np.arange(200)}),
        make_run(tmp_path / "no_user", no_user),
        make_run(tmp_path / "same", make_scores(seed=1)),
    ]
    differences = {d.name: d for d in compare(load_runs(runs), 20, 0).differences}
    assert {d.to for d in differences.values()} == {"base"}
    assert {name: d.reason for name, d in differences.items()} == {
        "none": "no test scores",
        "short": "other test rows: 100, not 200",
        "labels": "other labels or users, or another order of rows",
        "no_user": "cannot be matched: only one of the two has users",
        "same": "",
    }
    assert differences["same"].result is not None
    assert differences["same"].result.difference == 0
    done = run_report(*runs, "--output_dir", tmp_path / "out", "--resamples", "20")
    assert re.search(r"\| short +\| other test rows: 100, not 200 +\| +- \|", done.output)
    assert re.search(r"\| same +\| not told apart +\| +\+0.0000 \|", done.output)


def test_rows_in_the_order_of_several_processes_are_brought_together() -> None:
    first = TestScores(**make_scores(seed=1))
    order = np.r_[np.arange(0, 200, 4), np.arange(1, 200, 4), np.arange(2, 200, 4), np.arange(3, 200, 4)]
    other = TestScores(first.label[order], first.logit[order] + 1, first.user[order])  # type: ignore[index]
    matched = on_the_rows_of(first, other)
    assert matched is not None
    assert np.array_equal(matched.user, first.user)  # type: ignore[arg-type]
    assert np.array_equal(matched.label, first.label)
    assert matched.logit == pytest.approx(first.logit + 1)
    ambiguous = TestScores(np.array([1, 0, 1]), np.zeros(3), np.array([1, 1, 1]))
    assert on_the_rows_of(ambiguous, TestScores(np.array([0, 1, 1]), np.zeros(3), np.array([1, 1, 1]))) is None
    without_users = TestScores(np.array([1, 0]), np.zeros(2))
    assert on_the_rows_of(without_users, TestScores(np.array([1, 0]), np.ones(2))) is not None
    assert on_the_rows_of(without_users, TestScores(np.array([0, 1]), np.ones(2))) is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"label": np.ones(2)}, "cannot be read as arrays label, logit and user"),
        ({"label": np.ones(2), "logit": np.ones(3)}, r"same N > 0, got shapes \[\(2,\), \(3,\)\]"),
        ({"label": np.ones(0), "logit": np.ones(0)}, "same N > 0"),
        ({"label": np.array([1, 2]), "logit": np.ones(2)}, "label: expected 0 and 1 only"),
        ({"label": np.array(["a"]), "logit": np.ones(1)}, "expected numbers, got label <U1"),
        ({"label": np.ones(2), "logit": np.array([1, np.nan])}, "logit: 1 of 2 are not finite"),
        ({"label": np.array([None]), "logit": np.ones(1)}, "cannot be read"),  # an object: would need pickle
    ],
)
def test_score_files_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict, message: str) -> None:
    np.savez(tmp_path / "test_scores.npz", **arrays)
    with pytest.raises(ReportError, match=message):
        read_scores(tmp_path / "test_scores.npz")


def test_scores_that_are_damaged_or_another_runs_are_left_out_with_a_remark(tmp_path: Path) -> None:
    damaged, foreign, one_class = (make_run(tmp_path / n, make_scores()) for n in ("damaged", "foreign", "one_class"))
    whole = (damaged / "test_scores.npz").read_bytes()
    (damaged / "test_scores.npz").write_bytes(whole[: len(whole) // 2])
    np.savez(foreign / "test_scores.npz", **make_scores(lift=3.0))
    np.savez(one_class / "test_scores.npz", label=np.ones(4), logit=np.arange(4.0))
    loaded = load_runs([damaged, foreign, one_class])
    assert [run.scores for run in loaded] == [None] * 3
    assert "cannot be read" in loaded[0].remarks[0]
    assert re.search(r"a test AUC of 0\.\d+ that the log has not \(the last it has is 0\.\d+\)", loaded[1].remarks[0])
    assert "one class only" in loaded[2].remarks[0]


def test_scores_of_the_best_epoch_give_the_test_figures(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", make_scores(), epochs=3)
    log = read_log(run / "log.json")
    scores = make_scores()
    text = (run / "log.json").read_text()
    best = roc_auc(scores["label"], scores["logit"])
    (run / "log.json").write_text(
        text.replace(f"{log.epochs[1]['test_auc']!r}", repr(best)).replace(
            '"time_to_train": 5.0, "train_auc": 0.8, "test_auc": ' + repr(best), '"time_to_train": 5.0, "test_auc": 0.5'
        )
    )
    np.savez(run / "test_scores.npz", **scores, epoch=np.int64(1))
    comparison = compare(load_runs([run]), 10, 0)
    table = runs_table(comparison)
    row = dict(zip(table.headings, table.rows[0], strict=True))
    assert (row["epochs"], row["tested at epoch"], row["test AUC"]) == ("3", "1", f"{best:.4f}")
    assert row["test GAUC"] == f"{grouped_auc(scores['label'], scores['logit'], scores['user']):.4f}"


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


def test_an_older_report_is_replaced_with_nothing_left_of_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_report(make_run(tmp_path / "a", make_scores()), "--output_dir", out).exit_code == 0
    (out / "mine.txt").write_text("kept")
    assert run_report(make_run(tmp_path / "b"), "--output_dir", out).exit_code == 0
    assert not (out / "roc.png").exists()
    assert {p.name for p in out.iterdir()} == {
        "report.html", "report.json", "loss.png", "auc.png", "throughput.png", "mine.txt",
    }  # fmt: skip


def test_a_folder_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    (tmp_path / "file").write_text("")
    done = run_report(run, "--output_dir", tmp_path / "file/out")
    assert isinstance(done.exception, ReportError)
    assert "output_dir" in str(done.exception)
    comparison = compare(load_runs([run]), 10, 0)
    (tmp_path / "out/report.html").mkdir(parents=True)
    with pytest.raises(ReportError, match="cannot be written"):
        write_report(tmp_path / "out", comparison)
    assert not list((tmp_path / "out").glob(".*"))


def test_more_runs_than_colours_are_drawn(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"run_with_a_long_name_{n}", make_scores(seed=n)) for n in range(len(COLOURS) + 2)]
    assert len(plots(compare(load_runs(runs), 10, 0).runs)) == 4


def test_the_commands_help_loads_no_library_that_takes_long() -> None:
    code = """
import sys, training.report.cli
assert not {"numpy", "matplotlib", "jinja2", "tensorflow"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_report_never_loads_tensorflow(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", make_scores())
    code = f"""
import sys
from training.report.cli import report
report([{str(run)!r}, "--output_dir", {str(tmp_path / "out")!r}, "--resamples", "10"], standalone_mode=False)
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, stdout=subprocess.DEVNULL)
