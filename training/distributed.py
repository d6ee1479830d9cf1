"""Joins the processes that `horovodrun` starts. This and gradient_exchange.py are all that knows Horovod."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from training.errors import SettingsError, TrainingError

if TYPE_CHECKING:
    import tensorflow as tf

    from training.gradient_exchange import GradientExchange

# Horovod's settings where the user has none. A process that does not answer for 30 s is lost, also where the network
# drops packets in silence; its background thread answers while Python evaluates, compiles or writes a checkpoint, so
# that slow work is not a loss. The thread wakes up every cycle, which at Horovod's 1 ms takes 12 % of a core, and at
# 2 ms 5 %; a collective waits up to a cycle longer.
HOROVOD_DEFAULTS = {"HOROVOD_GLOO_TIMEOUT_SECONDS": "30", "HOROVOD_CYCLE_TIME": "2.5"}


class LostWorkerError(TrainingError):
    """Another process ended or can no longer be reached, so that a collective cannot end."""


@dataclass(frozen=True)
class Workers:
    """This process among all. The methods are collective: every rank calls them in the same order.

    They raise LostWorkerError if another rank ends or cannot be reached.
    """

    rank: int
    size: int
    hvd: Any = None

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def mean_gradients(self, gradients: Sequence[tf.Tensor | tf.IndexedSlices]) -> list[tf.Tensor | tf.IndexedSlices]:
        """Element-wise mean of each gradient over the ranks.

        gradients: float32, of the same shapes on all ranks; those of tables [V, D] may be IndexedSlices of unique
        rows, any number of them, also none. They come back as IndexedSlices: the rows of any rank, each once.
        """
        if self.size == 1:
            return list(gradients)
        with self._connected():
            return self._exchange.mean(gradients)

    def broadcast_variables(self, variables: Sequence[tf.Variable]) -> None:
        """Rank 0's values for all: weights and optimizer state before the first step."""
        if self.size > 1:
            with self._connected():
                self.hvd.broadcast_variables(list(variables), root_rank=0)

    def gather_rows(self, array: np.ndarray) -> np.ndarray:
        """The ranks' rows [n_r, …] one after another, on every rank; ranks may have different n_r, also 0."""
        if self.size == 1:
            return array
        with self._connected():
            return np.asarray(self.hvd.allgather(array))

    def broadcast_value(self, value: Any) -> Any:
        """Rank 0's plain value on every rank."""
        if self.size == 1:
            return value
        with self._connected():
            return self.hvd.broadcast_object(value, root_rank=0)

    @cached_property
    def _exchange(self) -> GradientExchange:
        from training.gradient_exchange import GradientExchange

        return GradientExchange(self.hvd)

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Gives Horovod's errors a name; it raises them as TensorFlow's."""
        import tensorflow as tf
        from horovod.common.exceptions import HorovodInternalError

        try:
            yield
        except (tf.errors.OpError, HorovodInternalError) as error:
            if "horovod" not in str(error).lower():
                raise
            raise LostWorkerError(
                f"rank {self.rank} of {self.size}: another process ended or cannot be reached; an error of its own, if "
                "it had the time to print one, stands above. Start again with --load_checkpoint_path to go on from the "
                "newest checkpoint, with any number of processes."
            ) from error


def start_workers() -> Workers:
    """Joins the processes that `horovodrun` started; alone otherwise, without importing Horovod.

    Raises SettingsError if started by horovodrun but Horovod for TensorFlow is not installed, or in its elastic mode.
    """
    if os.environ.get("HOROVOD_ELASTIC") == "1":
        raise SettingsError(
            "horovodrun: got --min-np or --host-discovery-script; expected a fixed list of hosts. For hosts that come "
            "and go, use deploy/train_elastic.py, which restarts from the newest checkpoint."
        )
    if int(os.environ.get("HOROVOD_SIZE", "1")) == 1:
        return Workers(0, 1)
    try:
        import horovod.tensorflow as hvd
    except ImportError as error:
        raise SettingsError(
            f"horovodrun: {os.environ['HOROVOD_SIZE']} processes asked for, but Horovod for TensorFlow does not "
            f"load ({error}). Run `make horovod`, or start one process without horovodrun."
        ) from error
    for name, value in HOROVOD_DEFAULTS.items():
        os.environ.setdefault(name, value)
    hvd.init()
    _pin_gpu(hvd.local_rank())
    return Workers(hvd.rank(), hvd.size(), hvd)


def _pin_gpu(local_rank: int) -> None:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        tf.config.set_visible_devices(gpus[local_rank % len(gpus)], "GPU")
