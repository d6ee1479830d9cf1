"""The training loop: epochs, evaluation, the best epoch, checkpoints. Knows no model by name."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from training.agreement import first_does, until_signal
from training.allocator import return_free_memory
from training.best import BestEpoch, best_epoch_of
from training.checkpoint import Checkpoint, open_checkpoint, save_checkpoint
from training.checkpoint_folders import folder_name
from training.diagnosis import NotFiniteError, bad_variables, weights_message
from training.distributed import Workers
from training.dllogger import DLLogger
from training.epoch import PassResult, TrainingPass
from training.evaluation import Evaluation, Scores, evaluate, gathered, measured, scoring_function
from training.feature_spec import FeatureSpec
from training.input_pipeline import Dataset
from training.interruption import Interrupted, StopSignal
from training.metric_units import log_units
from training.metrics import latency_summary
from training.preparation import (
    MAX_SEED,
    evaluation_data,
    load_spec,
    make_folders,
    new_model,
    resolved_seed,
    steps_per_epoch,
    training_data,
)
from training.resume import Start, checkpoint_to_resume, start_of, take_over_best
from training.settings import Settings
from training.step import TrainStep

PassScores = tuple[np.ndarray, np.ndarray]  # labels, logits of the rows of an interrupted epoch


@dataclass(frozen=True)
class EpochResult:
    """seconds, throughput (rows/s): of the training pass in this run, evaluation not included.

    0 and None if an earlier run had done all steps of the epoch.
    """

    epoch: int
    train: Evaluation
    test: Evaluation
    validation: Evaluation | None
    seconds: float
    throughput: float | None

    def speed(self) -> dict[str, float]:
        return {} if self.throughput is None else {"throughput": self.throughput, "time": self.seconds}

    def metrics(self) -> dict[str, float | None]:
        validation = self.validation.metrics("validation") if self.validation else {}
        return {**self.train.metrics("train"), **self.test.metrics("test"), **validation}


@dataclass(frozen=True)
class TrainingResult:
    """epochs: those of this run. final: of the chosen epoch, the best by validation or else the last.

    checkpoint: newest folder written, None if none was asked for. best: None without a validation mapping.
    """

    epochs: list[EpochResult]
    final: Evaluation
    checkpoint: Path | None
    seconds: float
    best: BestEpoch | None = None
    stopped_early: bool = False


def run_training(settings: Settings, workers: Workers, facts: dict[str, Any] | None = None) -> TrainingResult:
    """Trains to settings.training.epochs. Collective: every rank calls it with the same settings.

    facts: further entries for the log's first line. Raises Interrupted after SIGTERM or SIGINT, with a checkpoint of
    the step written if there is a folder for it; NotFiniteError; CheckpointError, SettingsError and DataError.
    """
    spec = load_spec(settings)
    resumed: Checkpoint | None = None
    scores: PassScores | None = None

    def prepare() -> Start:
        nonlocal resumed, scores
        resumed = checkpoint_to_resume(settings, spec)
        scores = resumed.pass_scores() if resumed is not None and resumed.step else None
        make_folders(settings)
        if resumed is not None and settings.results.save_checkpoint_path:
            take_over_best(resumed, Path(settings.results.save_checkpoint_path))
        return start_of(resumed)

    start = first_does(workers, prepare)
    seed = resolved_seed(settings, workers, start.seed)
    settings = replace(settings, run=replace(settings.run, seed=seed))
    tf.random.set_seed(seed % MAX_SEED)
    model = new_model(settings, spec)
    best = best_epoch_of(settings.training, spec, model.user, start.best)
    data = training_data(settings, spec, model, workers)
    steps = steps_per_epoch(settings, data)
    total_steps = None if steps is None else steps * settings.training.epochs
    step = TrainStep(model, workers, settings.training, total_steps, seed % MAX_SEED, settings.run.native_kernels)
    if start.epoch or start.step:
        first_does(workers, lambda: resumed.restore_step(step) if resumed else None)
    workers.broadcast_variables([*model.variables, *step.optimizer.variables, *step.loss_scale.variables])
    log_path = Path(settings.results.results_dir) / settings.results.log_filename
    with StopSignal() as stop, first_log(log_path, workers) as log:
        log.parameters({**settings.to_flat(), "processes": workers.size, **(facts or {})})
        log_units(log)
        training_pass = TrainingPass(settings, data, step, workers, log, stop, seed)
        run = _Run(settings, spec, workers, step, log, training_pass, stop, best)
        return run.train(start, resumed, scores)


def first_log(path: Path, workers: Workers) -> DLLogger:
    """The log on rank 0, none on the others. Collective."""
    made: list[DLLogger] = []
    first_does(workers, lambda: made.append(DLLogger(path)))
    return made[0] if made else DLLogger(None)


class _Run:
    """One call of run_training: what its epochs share."""

    def __init__(
        self, settings: Settings, spec: FeatureSpec, workers: Workers, step: TrainStep, log: DLLogger,
        training_pass: TrainingPass, stop: StopSignal, best: BestEpoch | None,
    ) -> None:  # fmt: skip
        self._settings, self._spec, self._workers, self._step = settings, spec, workers, step
        self._log, self._pass, self._stop, self._best = log, training_pass, stop, best
        model = step.model
        self._score = scoring_function(model, settings.training.xla)
        self._test = evaluation_data(settings, spec, "test", model, workers)
        self._validation = evaluation_data(settings, spec, "validation", model, workers) if best else None
        self._chosen: tuple[int, Evaluation, Scores] | None = None
        self._checkpoint: Path | None = None

    def train(self, start: Start, resumed: Checkpoint | None, scores: PassScores | None) -> TrainingResult:
        """resumed, scores: on rank 0, of the checkpoint that `start` comes from."""
        began = time.perf_counter()
        results: list[EpochResult] = []
        done, earlier = start.epoch, None
        if start.step:
            earlier = PassResult.of_earlier_run(start.step, scores, start.is_trained)
        while done < self._settings.training.epochs and not self._is_time_to_stop(done):
            if results:
                self._stop_between(done)
            results.append(self._epoch(done + 1, earlier))
            done, earlier = done + 1, None
        final = self._final(done, resumed)
        seconds = time.perf_counter() - began
        self._log.log((), {"time_to_train": seconds, **self._summary(results, final)})
        stopped = self._is_time_to_stop(done)
        return TrainingResult(results, final, self._checkpoint, seconds, self._best, stopped)

    def _epoch(self, epoch: int, earlier: PassResult | None) -> EpochResult:
        """earlier: what an interrupted run has done of it."""
        done = earlier if earlier is not None and earlier.is_whole else self._pass.run(epoch, earlier)
        self._require_finite_weights(epoch)
        scores = gathered(Scores(*done.scores()), self._workers)
        trained = self._save_pass(epoch, done, scores)
        if done.signal:
            place = f"stopped in epoch {epoch} after step {done.steps}"
            hint = self._resume_hint() if done.steps or epoch > 1 else "Nothing was learned yet: start again."
            raise Interrupted(done.signal, f"{place}. {hint}")
        train = measured(scores)
        test, test_scores = self._evaluate(self._test, epoch)
        self._require_finite_scores(epoch, test_scores.logit, trained)
        validation = None if self._validation is None else self._evaluate(self._validation, epoch)[0]
        throughput = done.rows / done.seconds if done.rows else None
        result = EpochResult(epoch, train, test, validation, done.seconds, throughput)
        if self._best is not None and validation is not None:
            self._best = self._best.after(epoch, validation.metrics("validation"))
        if self._best is None or self._best.epoch in (epoch, 0):
            self._chosen = (epoch, test, test_scores)
        self._log.log((epoch,), {**result.speed(), **result.metrics(), **latency_summary(done.latencies)})
        facts = {**result.metrics(), "rows": self._rows(result), "throughput": result.throughput}
        self._checkpoint = self._save(epoch, facts, same_state=trained)
        return result

    def _evaluate(self, data: Dataset, epoch: int) -> tuple[Evaluation, Scores]:
        return_free_memory()
        message = f"stopped in the evaluation after epoch {epoch}. {self._resume_hint()}"
        batches = until_signal(data.batches(), self._workers, self._stop, message)
        result = evaluate(self._step.model, self._score, batches, self._workers)
        return_free_memory()
        return result

    def _is_time_to_stop(self, epochs_done: int) -> bool:
        return self._best is not None and self._best.is_time_to_stop(epochs_done)

    def _final(self, done: int, resumed: Checkpoint | None) -> Evaluation:
        """Of the chosen epoch, whose scores are written. If an earlier run trained it, its weights are read back."""
        if self._chosen is None:
            epoch = self._read_back_best(resumed) or done
            self._chosen = (epoch, *self._evaluate(self._test, epoch))
        epoch, final, scores = self._chosen
        first_does(self._workers, lambda: scores.write(Path(self._settings.results.results_dir), epoch))
        return final

    def _read_back_best(self, resumed: Checkpoint | None) -> int:
        """The best epoch, with its weights in the model; 0 if there is none, or its folder is gone."""
        best = self._best
        if best is None or best.epoch == 0:
            return 0

        def read() -> int:
            folder = resumed.folder.parent / folder_name(best.epoch) if resumed is not None else Path()
            if resumed is None or not folder.is_dir():
                return 0
            open_checkpoint(folder).restore_step(self._step)
            return best.epoch

        epoch = first_does(self._workers, read)
        self._workers.broadcast_variables(self._step.model.variables)
        return epoch

    def _summary(self, results: list[EpochResult], final: Evaluation) -> dict[str, float | None]:
        """As in the seed: of the last epoch. With a validation mapping, the best epoch and its test metrics too."""
        last = results[-1].metrics() if results else final.metrics("test")
        if self._best is None or self._best.epoch == 0:
            return last
        return {**last, "best_epoch": self._best.epoch, **final.metrics("best_test")}

    def _rows(self, result: EpochResult) -> dict[str, int]:
        rows = {"train": result.train.rows, "test": result.test.rows}
        return rows if result.validation is None else {**rows, "validation": result.validation.rows}

    def _require_finite_weights(self, epoch: int) -> None:
        """A last step may have spoilt them without a loss that shows it. All ranks have the same weights."""
        if bad_variables(self._step.model):
            raise NotFiniteError(f"epoch {epoch}, after its last step: {weights_message(self._step.model)}")

    def _require_finite_scores(self, epoch: int, logits: np.ndarray, trained: Path | None) -> None:
        """Finite weights may be too large to score with. trained: their checkpoint, which nobody should go on from."""
        bad = int((~np.isfinite(logits)).sum())
        if bad:
            if trained is not None:
                first_does(self._workers, lambda: shutil.rmtree(trained))
            raise NotFiniteError(
                f"epoch {epoch}: {bad} of {len(logits)} scores of test rows are not finite. "
                f"{weights_message(self._step.model)}"
            )

    def _save_pass(self, epoch: int, done: PassResult, scores: Scores) -> Path | None:
        """The state after a pass, whole or not: whatever ends the run during the evaluation costs no step."""
        if done.steps == 0:
            return None
        marked = {"is_trained": True} if done.is_whole else {}
        return self._save(epoch - 1, marked, done.steps, (scores.label, scores.logit))

    def _stop_between(self, epoch: int) -> None:
        number = self._pass.signal_of_any()
        if number:
            raise Interrupted(number, f"stopped after epoch {epoch}. {self._resume_hint()}")

    def _resume_hint(self) -> str:
        path = self._settings.results.save_checkpoint_path
        if not path:
            return "No checkpoint was written: there is no --save_checkpoint_path."
        return f"Go on with --load_checkpoint_path {path} --save_checkpoint_path {path}."

    def _save(
        self, epoch: int, metrics: dict[str, Any], steps_done: int = 0, scores: PassScores | None = None,
        same_state: Path | None = None,
    ) -> Path | None:  # fmt: skip
        """The folder, if there is one for checkpoints. Collective: an error of rank 0 ends all."""
        path = self._settings.results.save_checkpoint_path
        if not path:
            return None
        record = None if self._best is None else self._best.record()
        facts = {"epoch": epoch, **metrics, "processes": self._workers.size, **({"best": record} if record else {})}
        return first_does(
            self._workers,
            lambda: save_checkpoint(
                Path(path), self._step, self._spec, self._settings, epoch, facts, steps_done, scores, same_state
            ),
        )
