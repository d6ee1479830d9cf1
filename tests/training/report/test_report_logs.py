"""Logs as DLLogger writes them and as accidents leave them, where they are found, and the names of runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.training.report.runs import STEPS, make_run, run_report
from training.dllogger import DLLogger
from training.report.comparison import compare
from training.report.errors import ReportError
from training.report.log_file import read_log
from training.report.page import figures_json
from training.report.plots import plots
from training.report.runs import find_log, load_runs
from training.report.tables import epochs_table


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
