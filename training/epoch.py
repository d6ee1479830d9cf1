"""One pass over the training rows. It reads nothing back from the device at each step, only every few steps."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from training.agreement import StepAgreement, Verdict
from training.diagnosis import NotFiniteError, explained
from training.distributed import Workers
from training.dllogger import DLLogger
from training.evaluation import joined
from training.input_pipeline import Batch, Dataset
from training.interruption import StopSignal
from training.metrics import RunningAuc
from training.preparation import MAX_SEED, has_gpu, no_step, passes_per_epoch
from training.progress import RowProgress
from training.settings import Settings
from training.step import AbandonedError, StepOutput, TrainStep

LOSSES_SHOWN = 3


@dataclass
class PassResult:
    """labels, logits: this rank's rows in the order of training, each scored before its update. signal: 0 for none.

    is_whole: the pass came to its end.
    """

    steps: int
    is_whole: bool = False
    rows: int = 0
    seconds: float = 0.0
    signal: int = 0
    labels: list[np.ndarray] = field(default_factory=list)
    logits: list[np.ndarray] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    @classmethod
    def of_earlier_run(
        cls, steps: int, scores: tuple[np.ndarray, np.ndarray] | None, is_whole: bool = False
    ) -> PassResult:
        """steps: done by a run that was interrupted, with their scores on this rank, if it has them."""
        labels, logits = ([], []) if scores is None else ([scores[0]], [scores[1]])
        return cls(steps, is_whole, labels=labels, logits=logits)

    def scores(self) -> tuple[np.ndarray, np.ndarray]:
        """(labels, logits), each [n]."""
        return joined(self.labels), joined(self.logits)


class _Pending(NamedTuple):
    """A step whose numbers are still on the device. checked: what of its data could be NaN."""

    number: int
    output: StepOutput
    checked: dict[str, tf.Tensor]
    global_rows: int
    ended: float  # time.perf_counter()


class TrainingPass:
    """Runs epochs of one run. Its methods are collective."""

    def __init__(
        self,
        settings: Settings,
        data: Dataset,
        step: TrainStep,
        workers: Workers,
        log: DLLogger,
        stop: StopSignal,
        seed: int,
    ) -> None:
        self._settings, self._data, self._step, self._workers = settings, data, step, workers
        self._log, self._stop, self._seed = log, stop, seed
        self._agreement = StepAgreement(workers)
        self._numeric = [f.name for f in data.features if f.cardinality is None]
        self._steps_are_async = has_gpu()
        self._losses: deque[float] = deque(maxlen=LOSSES_SHOWN)  # of the last steps that were read

    def run(self, epoch: int, earlier: PassResult | None = None) -> PassResult:
        """earlier: what an interrupted run has done of this epoch; the pass goes on from there.

        Ends early at a signal, also within a step, which is then not done. Raises NotFiniteError for the first step
        whose loss is not finite, on all ranks.
        """
        result = earlier or PassResult(0)
        skip = result.steps
        self._agreement.restart(skip)
        self._losses.clear()
        rows = self._data.rows()
        total = None if rows is None else rows * passes_per_epoch(self._settings)
        done = skip * self._data.batch_size
        title = f"epoch {epoch}/{self._settings.training.epochs}"
        start = time.perf_counter()
        shown = self._workers.is_first
        with RowProgress(title, total, shown, done) as progress, closing(self._batches(epoch, skip)) as batches:
            self._run(epoch, batches, result, progress)
        result.seconds = time.perf_counter() - start
        if result.steps == 0 and not result.signal:
            raise no_step(self._data)
        return result

    def signal_of_any(self) -> int:
        """The signal that any rank has got, 0 for none."""
        return self._agreement.signal_of_any(self._stop.number)

    def _batches(self, epoch: int, skip: int) -> Generator[Batch, None, None]:
        """The epoch's batches after the first `skip`, in the order that the run's seed gives to this epoch."""
        seed = (self._seed + epoch) % MAX_SEED if self._settings.data.shuffle else None
        drop, passes = self._settings.data.drop_remainder, passes_per_epoch(self._settings)
        batches = self._data.batches(shuffle_seed=seed, drop_remainder=drop, passes=passes)
        yield from islice(batches, skip, None)

    def _run(self, epoch: int, batches: Iterator[Batch], result: PassResult, progress: RowProgress) -> None:
        pending: list[_Pending] = []
        drained = time.perf_counter()
        auc = RunningAuc()
        for batch in batches:
            try:
                output = self._step(batch, self._is_interrupted)
            except AbandonedError:
                result.signal = self.signal_of_any()
                break
            result.steps += 1
            result.rows += batch.global_rows
            checked = {self._data.label: batch.label, **{name: batch.features[name] for name in self._numeric}}
            pending.append(_Pending(result.steps, output, checked, batch.global_rows, time.perf_counter()))
            result.labels.append(batch.label.numpy())
            if self._agreement.is_due(result.steps, self._stop.number):
                result.signal = self._drain(epoch, pending, drained, result, auc, progress)
                drained, pending = pending[-1].ended, []
                if result.signal:
                    return
        else:
            result.is_whole = True
        if pending:
            result.signal = self._drain(epoch, pending, drained, result, auc, progress)

    def _is_interrupted(self, part: int, parts: int) -> bool:
        return self._agreement.is_due_within(part, parts) and self.signal_of_any() != 0

    def _drain(
        self,
        epoch: int,
        pending: list[_Pending],
        since: float,
        result: PassResult,
        auc: RunningAuc,
        progress: RowProgress,
    ) -> int:
        """Reads the pending steps' numbers, checks and logs them. Returns the signal that any rank has got."""
        terms = _numbers(pending)
        logits = [p.output.logits.numpy() for p in pending]
        seconds = self._seconds(pending, since)
        bad = next((p.number for p, t in zip(pending, terms, strict=True) if not np.isfinite([*t.values()]).all()), 0)
        verdict = self._agreement.agree(pending[-1].number, bad, self._stop.number, float(np.mean(seconds)))
        clock = time.time() - time.perf_counter()
        first_label = len(result.labels) - len(pending)
        for number, (step, values) in enumerate(zip(pending, terms, strict=True)):
            if step.number == verdict.bad_step:
                raise self._not_finite(epoch, verdict, pending, terms)
            speed = step.global_rows / max(seconds[number], 1e-9)
            self._log.log((epoch, step.number), {**values, "samples/s": speed}, at=clock + step.ended)
            auc.add(result.labels[first_label + number], logits[number])
            self._losses += [values["total_loss"]] if values else []
            loss = f"loss {values['total_loss']:.4f}  AUC {auc.value():.4f}  " if values else ""
            progress.advance(step.global_rows, f"{loss}{speed:,.0f} samples/s")
        result.logits += logits
        result.latencies += seconds
        return verdict.signal

    def _seconds(self, pending: list[_Pending], since: float) -> list[float]:
        """Time of each step. A GPU may still work on steps that have returned: there it is the mean of these steps."""
        if self._steps_are_async:
            return [(time.perf_counter() - since) / len(pending)] * len(pending)
        ends = [since, *(p.ended for p in pending)]
        return [float(d) for d in np.diff(ends)]

    def _not_finite(
        self, epoch: int, verdict: Verdict, pending: list[_Pending], terms: list[dict[str, float]]
    ) -> NotFiniteError:
        step, rank = verdict.bad_step, verdict.bad_rank
        if rank != self._workers.rank:
            return NotFiniteError(
                f"epoch {epoch}, step {step}: the loss of process {rank} is not finite; its own message says why"
            )
        place = step - pending[0].number
        return explained(self._step.model, epoch, step, terms[place], pending[place].checked, self._losses)


def _numbers(pending: list[_Pending]) -> list[dict[str, float]]:
    """The loss terms of each step; one transfer for all. Empty for a step in which this rank had no rows."""
    tensors = [value for p in pending for value in p.output.terms.values()]
    values = iter(tf.stack(tensors).numpy().tolist() if tensors else [])
    return [{name: next(values) for name in p.output.terms} for p in pending]
