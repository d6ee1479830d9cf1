"""The only file that knows Horovod. One process needs no Horovod; several are started by `horovodrun`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.errors import SettingsError

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Workers:
    """This process among all. The methods are collective: every rank calls them in the same order."""

    rank: int
    size: int
    hvd: Any = None

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def mean_gradients(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Element-wise mean of each gradient over the ranks."""
        if self.size == 1:
            return list(gradients)
        return list(self.hvd.grouped_allreduce(list(gradients), op=self.hvd.Average))

    def broadcast_variables(self, variables: Sequence[tf.Variable]) -> None:
        """Rank 0's values for all: weights and optimizer state before the first step."""
        if self.size > 1:
            self.hvd.broadcast_variables(list(variables), root_rank=0)

    def gather_rows(self, array: np.ndarray) -> np.ndarray:
        """The ranks' rows [n_r, …] one after another, on every rank; ranks may have different n_r, also 0."""
        if self.size == 1:
            return array
        return np.asarray(self.hvd.allgather(array))

    def broadcast_value(self, value: Any) -> Any:
        """Rank 0's plain value on every rank."""
        return value if self.size == 1 else self.hvd.broadcast_object(value, root_rank=0)


def start_workers() -> Workers:
    """Joins the processes that `horovodrun` started; alone otherwise, without importing Horovod.

    Raises SettingsError if started by horovodrun but Horovod for TensorFlow is not installed.
    """
    if int(os.environ.get("HOROVOD_SIZE", "1")) == 1:
        return Workers(0, 1)
    try:
        import horovod.tensorflow as hvd
    except ImportError as error:
        raise SettingsError(
            f"horovodrun: {os.environ['HOROVOD_SIZE']} processes asked for, but Horovod for TensorFlow does not "
            f"load ({error}). Run `make horovod`, or start one process without horovodrun."
        ) from error
    hvd.init()
    _pin_gpu(hvd.local_rank())
    return Workers(hvd.rank(), hvd.size(), hvd)


def _pin_gpu(local_rank: int) -> None:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        tf.config.set_visible_devices(gpus[local_rank % len(gpus)], "GPU")
