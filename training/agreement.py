"""What the ranks tell each other besides gradients: errors of rank 0, bad steps and signals of any rank."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import NamedTuple, TypeVar

import numpy as np

from training.distributed import Workers
from training.errors import TrainingError
from training.input_pipeline import Batch
from training.interruption import Interrupted, StopSignal

T = TypeVar("T")
MOST_STEPS_BETWEEN = 20
SECONDS_BETWEEN = 1.0


class Verdict(NamedTuple):
    """bad_step: first step of any rank whose loss was not finite, and that rank; 0 if all were. signal: of any rank."""

    bad_step: int
    bad_rank: int
    signal: int


class StepAgreement:
    """Every few steps all ranks learn of each other's bad steps and signals.

    It costs one small collective about once per second, and after 20 steps at the latest. All ranks must ask at
    the same step, so each takes the slowest rank's time per step, which the same collective carries.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._next = 1
        self._slowest_s = np.inf  # per step, unknown before the first one

    def restart(self, step: int) -> None:
        """Collective in effect: at the start of an epoch, `step` steps of which are done."""
        self._next = step + 1

    def is_due(self, step: int, signal: int) -> bool:
        """All ranks ask at every step, and get the same answer. signal: this process's; alone, it counts at once."""
        return step >= self._next or (self._workers.size == 1 and signal != 0)

    def agree(self, step: int, bad_step: int, signal: int, seconds_per_step: float) -> Verdict:
        """Collective. step: the last one done. bad_step: this rank's first since it was last asked, 0 for none."""
        rows = self._workers.gather_rows(np.array([[bad_step, signal, seconds_per_step]], np.float64))
        self._slowest_s = max(rows[:, 2].max(), 1e-6)
        self._next = step + int(np.clip(SECONDS_BETWEEN / self._slowest_s, 1, MOST_STEPS_BETWEEN))
        bad = np.where(rows[:, 0] > 0, rows[:, 0], np.inf)
        rank = int(bad.argmin())
        return Verdict(int(bad[rank]) if np.isfinite(bad[rank]) else 0, rank, int(rows[:, 1].max()))

    def is_due_within(self, part: int, parts: int) -> bool:
        """Whether to ask for signals after `part` of a step's micro-batches: about once per second, alone always."""
        return self._workers.size == 1 or part % max(1, int(parts * SECONDS_BETWEEN / self._slowest_s)) == 0

    def signal_of_any(self, signal: int) -> int:
        """Collective. The signal that any rank has got, 0 for none."""
        return int(self._workers.gather_rows(np.array([signal], np.int64)).max())


def until_signal(
    batches: Generator[Batch, None, None], workers: Workers, stop: StopSignal, message: str
) -> Generator[Batch, None, None]:
    """The batches of an evaluation. Collective: raises Interrupted between two of them if any rank has got a signal."""
    agreement, asked, since = StepAgreement(workers), 0, time.perf_counter()
    with closing(batches):
        for number, batch in enumerate(batches, start=1):
            yield batch
            if agreement.is_due(number, stop.number):
                now = time.perf_counter()
                signal = agreement.agree(number, 0, stop.number, (now - since) / (number - asked)).signal
                if signal:
                    raise Interrupted(signal, message)
                asked, since = number, now


def first_does(workers: Workers, action: Callable[[], T]) -> T:
    """Collective: rank 0 acts, all get its plain result. If it fails, all ranks fail instead of waiting for it."""
    result: T | None = None
    failure: Exception | None = None
    if workers.is_first:
        try:
            result = action()
        except Exception as error:  # told to all ranks, then raised
            failure = error
    result, message = workers.broadcast_value((result, None if failure is None else str(failure)))
    if failure is not None:
        raise failure
    if message is not None:
        raise TrainingError(f"process 0 of {workers.size} failed: {message}")
    return result  # type: ignore[return-value]  # None only if the action returns it
