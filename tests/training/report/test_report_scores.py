"""Scores of the test rows: which files are read, and which runs can be compared."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.training.report.runs import make_run, make_scores, run_report
from training.metrics import grouped_auc, roc_auc
from training.report.comparison import compare
from training.report.errors import ReportError
from training.report.log_file import read_log
from training.report.runs import load_runs
from training.report.score_file import TestScores, on_the_rows_of, read_scores
from training.report.tables import runs_table


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
