"""`recserve report`: what it prints and writes, and what it leaves behind."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.report.runs import make_run, make_scores, run_report
from training.metrics import grouped_auc, log_loss, roc_auc
from training.report.comparison import compare
from training.report.errors import ReportError
from training.report.page import write_report
from training.report.runs import load_runs


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
