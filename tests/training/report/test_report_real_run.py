"""`recserve report` on what `recserve train` really writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from recserve import cli
from tests.training.options import SMALLEST


def recserve(*arguments: object) -> str:
    result = CliRunner().invoke(cli, list(map(str, arguments)))
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.mark.slow
def test_two_real_runs_are_compared_on_their_test_rows(tiny_dataset: Path, tmp_path: Path) -> None:
    runs = [tmp_path / "one", tmp_path / "two"]
    for seed, run in enumerate(runs, start=1):
        recserve(
            "train", "--dataset_dir", tiny_dataset, "--results_dir", run, "--seed", seed, *SMALLEST,
            "--global_batch_size", 64, "--epochs", 2,
        )  # fmt: skip
    printed = recserve("report", *runs, "--output_dir", tmp_path / "out", "--resamples", 50)
    figures = json.loads((tmp_path / "out" / "report.json").read_text())
    assert figures["remarks"] == [], printed
    assert [(run["name"], run["model"], run["finished"]) for run in figures["runs"]] == [
        ("one", "din", True), ("two", "din", True),
    ]  # fmt: skip
    for run in figures["runs"]:
        assert len(run["epochs"]) == 2
        assert run["test_scores"]["auc"] == pytest.approx(run["epochs"][-1]["test_auc"])
        assert run["test_scores"]["gauc"] == pytest.approx(run["epochs"][-1]["test_gauc"])
        assert run["test_scores"]["users"] > 1
    difference = figures["differences"][0]
    assert difference["low"] <= difference["difference"] <= difference["high"]
    assert list(figures["settings_that_differ"]) == ["seed"]
    assert len(list((tmp_path / "out").glob("*.png"))) == 4
