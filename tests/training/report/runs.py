"""Runs as training leaves them: a log with its figures, and scores of the test rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result

from training.dllogger import DLLogger
from training.metrics import roc_auc
from training.report.cli import report

STEPS = 30


def make_scores(rows: int = 200, lift: float = 1.0, seed: int = 0) -> dict[str, np.ndarray]:
    """The same rows for each seed, a positive and a negative per user; other logits."""
    label = np.tile(np.float32([1, 0]), rows // 2)
    hard = np.random.default_rng(99).normal(size=rows)
    logit = lift * label + hard + 0.3 * np.random.default_rng(seed).normal(size=rows)
    return {"label": label, "logit": logit.astype(np.float32), "user": np.repeat(np.arange(1, rows // 2 + 1), 2)}


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
