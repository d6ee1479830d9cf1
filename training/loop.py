"""The training loop: epochs, evaluation, logs, checkpoints. Knows no model by name."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from training.amp import compute_dtype
from training.checkpoint import Checkpoint, epoch_folders, open_checkpoint, save_checkpoint
from training.distributed import Workers
from training.dllogger import DLLogger
from training.errors import CheckpointError, SettingsError, TrainingError
from training.evaluation import Evaluation, evaluate, measured, scoring_function
from training.feature_spec import Feature, FeatureSpec
from training.input_pipeline import Dataset
from training.metrics import finite_or_none, latency_summary
from training.models import build_model
from training.progress import RowProgress
from training.settings import Settings
from training.step import TrainStep

MAX_SEED = 2**31 - 1
UNITS = {
    "classification_loss": None, "dien_aux_loss": None, "total_loss": None, "samples/s": "samples/s",
    "throughput": "samples/s", "time": "s", "time_to_train": "s", "train_auc": None, "test_auc": None,
    "train_loss": None, "test_loss": None, "latency_mean": "ms", "latency_p90": "ms", "latency_p95": "ms",
    "latency_p99": "ms",
}  # fmt: skip


@dataclass(frozen=True)
class EpochResult:
    epoch: int
    train: Evaluation
    test: Evaluation
    seconds: float
    throughput: float


@dataclass(frozen=True)
class TrainingResult:
    """epochs: those of this run. checkpoint: newest folder written, None if none was asked for."""

    epochs: list[EpochResult]
    final: Evaluation
    checkpoint: Path | None
    seconds: float


class NotFiniteError(TrainingError):
    """A loss became NaN or infinite."""


def run_training(settings: Settings, workers: Workers) -> TrainingResult:
    """Trains to settings.training.epochs. Collective: every rank calls it with the same settings."""
    spec = _load_spec(settings)
    _make_folders(settings, workers)
    seed = settings.run.seed if settings.run.seed >= 0 else int(np.random.default_rng().integers(MAX_SEED))
    seed = workers.broadcast_value(seed)
    tf.random.set_seed(seed)
    resumed = _checkpoint_to_resume(settings, spec)
    dtype = compute_dtype(settings.training.amp)
    model = build_model(spec, settings.model, dtype)
    options = settings.training
    step = TrainStep(model, workers, options.lr, options.micro_batch_size, dtype, options.xla)
    if resumed is not None:
        resumed.restore_step(step)
    workers.broadcast_variables([*model.variables, *step.optimizer.variables, *step.loss_scale.variables])
    run = _Run(settings, spec, workers, seed, step)
    log_path = Path(settings.results.results_dir) / settings.results.log_filename
    with DLLogger(log_path if workers.is_first else None) as log:
        log.parameters({**settings.to_flat(), "seed": seed, "processes": workers.size})
        for metric, unit in UNITS.items():
            log.metadata(metric, unit=unit)
        return run.train(log, resumed.epoch if resumed else 0)


class _Run:
    """One call of run_training: what its epochs share."""

    def __init__(self, settings: Settings, spec: FeatureSpec, workers: Workers, seed: int, step: TrainStep) -> None:
        self.settings, self.spec, self.workers, self.seed, self.step = settings, spec, workers, seed, step
        model, data = step.model, settings.data
        batch = settings.training.global_batch_size
        if batch < workers.size:
            raise SettingsError(
                f"global_batch_size: expected at least one row per process ({workers.size}), got {batch}"
            )
        test_batch = min(batch, settings.training.micro_batch_size * workers.size)
        self.train_data = self._dataset("train", model.trained, batch, data.prebatch_train_size)
        self.test_data = self._dataset("test", model.served, test_batch, data.prebatch_test_size)
        self._score = scoring_function(model, settings.training.xla)
        self.train_data.check()
        self.test_data.check()

    def _dataset(self, mapping: str, features: tuple[Feature, ...], batch_size: int, prebatch_size: int) -> Dataset:
        label, workers = self.step.model.label, self.workers
        return Dataset(self.spec, mapping, features, label, batch_size, prebatch_size, workers.rank, workers.size)

    def train(self, log: DLLogger, first_epoch: int) -> TrainingResult:
        start = time.perf_counter()
        results: list[EpochResult] = []
        checkpoint = None
        for epoch in range(first_epoch + 1, self.settings.training.epochs + 1):
            result, latencies = self._epoch(log, epoch)
            results.append(result)
            log.log(
                (epoch,),
                {
                    "throughput": result.throughput,
                    "time": result.seconds,
                    **_metrics(result),
                    **latency_summary(latencies),
                },
            )
            checkpoint = self._save(result) or checkpoint
        seconds = time.perf_counter() - start
        final = results[-1].test if results else self._evaluate()
        summary = (
            _metrics(results[-1])
            if results
            else {"test_auc": finite_or_none(final.auc), "test_loss": finite_or_none(final.loss)}
        )
        log.log((), {"time_to_train": seconds, **summary})
        return TrainingResult(results, final, checkpoint, seconds)

    def _epoch(self, log: DLLogger, epoch: int) -> tuple[EpochResult, list[float]]:
        """train_auc and train_loss come from the scores of the training pass itself, each before its update."""
        start = time.perf_counter()
        labels, logits, latencies = [], [], []
        rows = 0
        title = f"epoch {epoch}/{self.settings.training.epochs}"
        batches = self.train_data.batches(
            shuffle_seed=(self.seed + epoch) % MAX_SEED, drop_remainder=self.settings.data.drop_remainder
        )
        with RowProgress(title, self.train_data.rows(), self.workers.is_first) as progress:
            step_start = start
            for number, batch in enumerate(batches, start=1):
                terms, batch_logits = self.step(batch)
                _require_finite(terms, epoch, number)
                now = time.perf_counter()
                latencies.append(now - step_start)
                speed = batch.global_rows / latencies[-1]
                step_start = now
                rows += batch.global_rows
                labels.append(batch.label.numpy())
                logits.append(batch_logits)
                log.log((epoch, number), {**terms, "samples/s": speed})
                progress.advance(batch.global_rows, f"loss {terms.get('total_loss', 0.0):.4f}  {speed:,.0f} samples/s")
        if rows == 0:
            raise SettingsError(
                f"epoch {epoch} has no step: drop_remainder leaves no batch of {self.train_data.batch_size} rows. "
                "Lower global_batch_size or do not drop the remainder."
            )
        seconds = time.perf_counter() - start
        train = measured(np.concatenate(labels), np.concatenate(logits), self.workers)
        return EpochResult(epoch, train, self._evaluate(), seconds, rows / seconds), latencies

    def _evaluate(self) -> Evaluation:
        return evaluate(self.step.model, self._score, self.test_data.batches(), self.workers)

    def _save(self, result: EpochResult) -> Path | None:
        path = self.settings.results.save_checkpoint_path
        if not path or not self.workers.is_first:
            return None
        metrics: dict[str, Any] = {
            "epoch": result.epoch,
            **_metrics(result),
            "rows": {"train": result.train.rows, "test": result.test.rows},
            "throughput": result.throughput,
            "processes": self.workers.size,
        }
        return save_checkpoint(Path(path), self.step, self.spec, self.settings, result.epoch, metrics)


def _load_spec(settings: Settings) -> FeatureSpec:
    if not settings.data.dataset_dir:
        raise SettingsError("dataset_dir: missing; pass the folder that holds feature_spec.yaml")
    path = Path(settings.data.dataset_dir) / settings.data.feature_spec
    if not path.is_file():
        raise SettingsError(f"dataset_dir: there is no {path}. Make it with `recserve convert`, or set --feature_spec.")
    return FeatureSpec.load(path, check_files=True)


def _make_folders(settings: Settings, workers: Workers) -> None:
    """Before anything is trained, so that a path that cannot be written costs no epoch."""
    for name in ("results_dir", "save_checkpoint_path"):
        path = getattr(settings.results, name)
        if not path or not workers.is_first:
            continue
        try:
            Path(path).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise SettingsError(f"{name}: cannot write to {path}: {error.strerror}. Choose another folder.") from error


def _checkpoint_to_resume(settings: Settings, spec: FeatureSpec) -> Checkpoint | None:
    load, save = settings.results.load_checkpoint_path, settings.results.save_checkpoint_path
    if save and epoch_folders(Path(save)) and not (load and Path(load).resolve() == Path(save).resolve()):
        raise CheckpointError(
            f"save_checkpoint_path: {save} already holds checkpoints of another run. Resume it with "
            f"--load_checkpoint_path {save}, or choose another folder."
        )
    if not load:
        return None
    checkpoint = open_checkpoint(Path(load))
    checkpoint.check_fits(spec, settings)
    return checkpoint


def _require_finite(terms: dict[str, float], epoch: int, step: int) -> None:
    bad = [name for name, value in terms.items() if not np.isfinite(value)]
    if bad:
        raise NotFiniteError(
            f"epoch {epoch}, step {step}: {', '.join(bad)} is not finite. Lower --lr; "
            "the last checkpoint is from before this epoch."
        )


def _metrics(result: EpochResult) -> dict[str, float | None]:
    metrics = {
        "train_auc": result.train.auc,
        "test_auc": result.test.auc,
        "train_loss": result.train.loss,
        "test_loss": result.test.loss,
    }
    return {name: finite_or_none(value) for name, value in metrics.items()}
