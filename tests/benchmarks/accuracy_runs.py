"""Trainings to compare by AUC. A finished one is kept and not run again by equal data, settings and code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.child import RECSERVE, BenchmarkError, Cost, run_child
from tests.benchmarks.datasets import Prepared
from tests.benchmarks.fingerprints import settings_fingerprint, sources_fingerprint
from tests.benchmarks.output import Progress, number
from training.report.errors import ReportError
from training.report.log_file import Figures, read_log
from training.report.score_file import FILE_NAME, TestScores, read_scores

RECORD = "finished.json"


@dataclass(frozen=True)
class Training:
    """What to train. protocol: full (all training rows) or validation (each user's last prefix held out)."""

    model: str
    seed: int
    precision: str
    protocol: str

    @property
    def name(self) -> str:
        return f"{self.model} {self.precision} {self.protocol} seed {self.seed}"

    @property
    def kind(self) -> str:
        return f"{self.model} {self.precision}"


@dataclass(frozen=True)
class Trained:
    """epochs: from 1, each with its figures as logged. scores: of the test rows. sources: fingerprint of the code."""

    training: Training
    epochs: dict[int, Figures]
    summary: Figures
    scores: TestScores
    cost: Cost
    sources: str


def plan(models: Sequence[str], seeds: int, amp: bool, validation: bool) -> list[Training]:
    """Seed by seed, so that an interrupted benchmark has whole comparisons."""
    protocols = [("float32", "full"), *([("float32", "validation")] if validation else [])]
    protocols += [("amp", "full")] if amp else []
    return [
        Training(model, seed, precision, protocol)
        for seed in range(1, seeds + 1)
        for precision, protocol in protocols
        for model in models
    ]


def train_all(
    trainings: Sequence[Training], datasets: dict[str, Prepared], options: Sequence[str], work: Path, progress: Progress
) -> list[Trained]:
    """datasets: protocol -> data. options: of `recserve train`, the same for all. Raises BenchmarkError."""
    return [_train(training, datasets[training.protocol], options, work, progress) for training in trainings]


def _train(training: Training, data: Prepared, options: Sequence[str], work: Path, progress: Progress) -> Trained:
    amp = ["--amp"] if training.precision == "amp" else []
    arguments = ["--model_type", training.model, "--seed", str(training.seed), *amp, *options]
    sources = sources_fingerprint()
    key = settings_fingerprint([arguments, data.facts["data_fingerprint"], sources])
    folder = work / f"{training.name.replace(' ', '-')}-{key}"
    record = folder / RECORD
    if record.is_file():
        cost = Cost(**json.loads(record.read_text(encoding="utf-8")))
        trained = _read(training, folder, cost, sources)
        progress.skip(f"{training.name}: {_short(trained)}", cost.seconds)
        return trained
    progress.begin(training.name)
    paths = ["--dataset_dir", str(data.folder), "--results_dir", str(folder)]
    cost = run_child([*RECSERVE, "train", *paths, *arguments], folder / "output.log")
    trained = _read(training, folder, cost, sources)
    staged = record.with_suffix(".partial")
    staged.write_text(json.dumps(vars(cost)), encoding="utf-8")
    staged.replace(record)
    progress.end(cost.seconds, _short(trained))
    return trained


def _read(training: Training, folder: Path, cost: Cost, sources: str) -> Trained:
    try:
        log, scores = read_log(folder / "log.json"), read_scores(folder / FILE_NAME)
    except ReportError as error:
        raise BenchmarkError(f"{training.name}: {error}. Remove {folder} and try again.") from error
    if not log.finished or not log.epochs:
        raise BenchmarkError(f"{training.name}: {folder / 'log.json'} has no summary line. Remove the folder.")
    return Trained(training, log.epochs, log.summary, scores, cost, sources)


def _short(trained: Trained) -> str:
    return "test AUC " + " ".join(number(figures.get("test_auc"), ".4f") for figures in trained.epochs.values())
