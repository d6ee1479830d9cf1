"""Runs -> the figures of the report: each run's own, and its difference to the first on the same test rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.metrics import UNKNOWN_USER, grouped_auc, log_loss, roc_auc
from training.report.bootstrap import PairedDifference, auc_standard_error, paired_difference
from training.report.log_file import Figures, RunLog
from training.report.runs import Run
from training.report.score_file import TestScores, on_the_rows_of

# where a run puts its files says nothing about what it did
PLACES = ("results_dir", "log_filename", "save_checkpoint_path", "load_checkpoint_path")


@dataclass(frozen=True)
class ScoreFigures:
    """Of the test scores. users: the known ones; None without any in the file: then rows were drawn, gauc is NaN."""

    rows: int
    users: int | None
    epoch: int | None
    auc: float
    auc_standard_error: float
    gauc: float
    log_loss: float


@dataclass(frozen=True)
class RunFigures:
    """final: test metrics of the test scores; else, and the others, of the summary line; else of the newest epoch.

    throughput: samples/s. seconds: of the whole run.
    """

    run: Run
    final: Figures
    throughput: float
    seconds: float
    scores: ScoreFigures | None

    @property
    def epochs(self) -> int:
        return max(self.run.log.epochs, default=0)


@dataclass(frozen=True)
class Difference:
    """Test AUC of `name` less that of `to`; reason: why there is none."""

    name: str
    to: str
    result: PairedDifference | None
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """settings: those that differ, name -> a value per run. remarks: (run, text)."""

    runs: list[RunFigures]
    differences: list[Difference]
    settings: dict[str, list[Any]]
    remarks: list[tuple[str, str]]
    resamples: int
    seed: int


def compare(runs: Sequence[Run], resamples: int, seed: int) -> Comparison:
    """Deterministic in seed: it draws the resamples of the bootstrap."""
    figures = [_figures(run, resamples, seed) for run in runs]
    remarks = [(run.name, text) for run in runs for text in run.remarks]
    return Comparison(figures, _differences(runs, resamples, seed), differing_settings(runs), remarks, resamples, seed)


def differing_settings(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Parameters that at least two runs logged with different values; None where a run did not log one."""
    names = dict.fromkeys(name for run in runs for name in run.log.parameters)
    values = {name: [run.log.parameters.get(name) for run in runs] for name in names if name not in PLACES}
    return {
        name: row
        for name, row in values.items()
        if len({str(value) for run, value in zip(runs, row, strict=True) if name in run.log.parameters}) > 1
    }


def _figures(run: Run, resamples: int, seed: int) -> RunFigures:
    log = run.log
    newest = log.epochs[max(log.epochs)] if log.epochs else {}
    final = {**newest, **log.summary}
    scores = None if run.scores is None else _score_figures(run.scores, resamples, seed)
    if scores is not None:
        final |= {"test_auc": scores.auc, "test_loss": scores.log_loss}
        final |= {} if scores.users is None else {"test_gauc": scores.gauc}
    return RunFigures(run, final, _throughput(log), _seconds(log), scores)


def _score_figures(scores: TestScores, resamples: int, seed: int) -> ScoreFigures:
    label, logit, user = scores.label, scores.logit, scores.user
    return ScoreFigures(
        rows=len(label),
        users=None if user is None else len(np.unique(user[user != UNKNOWN_USER])),
        epoch=scores.epoch,
        auc=roc_auc(label, logit),
        auc_standard_error=auc_standard_error(label, logit, user, resamples, seed),
        gauc=math.nan if user is None else grouped_auc(label, logit, user),
        log_loss=log_loss(label, logit),
    )


def _throughput(log: RunLog) -> float:
    """Samples per second over all epochs; else the summary's (inference), else the median of the steps."""
    epochs = [(e["throughput"], e["time"]) for e in log.epochs.values() if {"throughput", "time"} <= e.keys()]
    seconds = sum(time for _, time in epochs)
    if epochs and seconds > 0:
        return sum(speed * time for speed, time in epochs) / seconds
    if "throughput" in log.summary:
        return log.summary["throughput"]
    steps = [s["samples/s"] for s in log.steps.values() if math.isfinite(s.get("samples/s", math.nan))]
    return float(np.median(steps)) if steps else math.nan


def _seconds(log: RunLog) -> float:
    for name in ("time_to_train", "time"):
        if name in log.summary:
            return log.summary[name]
    times = [epoch["time"] for epoch in log.epochs.values() if "time" in epoch]
    return sum(times) if times else math.nan


def _differences(runs: Sequence[Run], resamples: int, seed: int) -> list[Difference]:
    """Against the first run that has scores."""
    base = next((run for run in runs if run.scores is not None), None)
    if base is None or base.scores is None or len(runs) < 2:
        return []
    differences = []
    for run in runs:
        if run is base:
            continue
        if run.scores is None:
            differences.append(Difference(run.name, base.name, None, "no test scores"))
            continue
        other = on_the_rows_of(base.scores, run.scores)
        if other is None:
            differences.append(Difference(run.name, base.name, None, _why_other_rows(base.scores, run.scores)))
            continue
        first = base.scores
        result = paired_difference(first.label, first.logit, other.logit, first.user, resamples, seed)
        differences.append(Difference(run.name, base.name, result))
    return differences


def _why_other_rows(first: TestScores, other: TestScores) -> str:
    if len(first) != len(other):
        return f"other test rows: {len(other):,}, not {len(first):,}"
    if (first.user is None) != (other.user is None):
        return "cannot be matched: only one of the two has users"
    return "other labels or users, or another order of rows"
