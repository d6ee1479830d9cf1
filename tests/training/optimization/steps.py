"""What the tests of the training step share."""

from __future__ import annotations

from tests.training.models.samples import Columns, label_of, tensors
from training.input_pipeline import Batch
from training.models.base import CtrModel

FITTING = {"embedding_dim": 8, "activation_unit_dims": (16, 8)}  # what the kernels have: small graphs


def batch_of(columns: Columns, model: CtrModel, global_rows: int | None = None) -> Batch:
    return Batch(tensors(columns, model), label_of(columns), global_rows or len(columns["label"]))
