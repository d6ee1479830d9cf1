"""Tables in the training step: only the rows of a batch, each once, and never the padding row."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.training.models.samples import (
    KINDS,
    columns_of,
    model_of,
    settings_of,
    spec_of,
    tables_of,
)
from tests.training.optimization.steps import FITTING, batch_of
from training.distributed import Workers
from training.settings import TrainingSettings
from training.step import TrainStep

OPTIMIZERS = ["adam", "lazy_adam", "sgd"]


@pytest.mark.parametrize(
    ("kind", "optimizer", "native"),
    [
        *((kind, optimizer, True) for kind in KINDS for optimizer in OPTIMIZERS),
        *(("din", o, False) for o in OPTIMIZERS),
    ],
)
def test_the_padding_row_stays_zero_whatever_ids_the_data_has(kind: str, optimizer: str, native: bool) -> None:
    spec = spec_of(users=("user_id", "country"), times=True)
    options = {"history_attention": "bilinear", "time_intervals": True} if kind == "sim" else {}
    model, columns = model_of(spec, settings_of(kind, **FITTING, **options), native), columns_of(spec, 16)
    columns["user_id"][::2] = 0
    columns["cat_id_pos"][::3] = 0
    columns["item_id_trgt"][1] = 0
    before = [t.numpy() for t in tables_of(model)]
    step = TrainStep(model, Workers(0, 1), TrainingSettings(optimizer=optimizer, lr=0.05, weight_decay=0.1))
    for _ in range(4):
        step(batch_of(columns, model))
    for table, start in zip(tables_of(model), before, strict=True):
        assert not table.numpy()[0].any(), table.name
        assert (table.numpy() != start).any()


@pytest.mark.parametrize(("kind", "native"), [("sim", True), ("din", True), ("dien", True), ("din", False)])
def test_defect_9_rows_that_were_not_looked_up_do_not_change_under_lazy_adam(kind: str, native: bool) -> None:
    spec, columns = spec_of(), columns_of(spec_of(), 5)
    model = model_of(spec, settings_of(kind, **FITTING), native)
    step = TrainStep(model, Workers(0, 1), TrainingSettings(optimizer="lazy_adam", lr=0.1, weight_decay=0.1))
    table = model.item_tables[0].table
    start = table.numpy()
    number = [v is table for v in step.variables].index(True)
    for _ in range(3):
        step(batch_of(columns, model))
    suffixes = ("trgt", "pos") if kind == "din" else ("trgt", "pos", "neg")
    seen = set(np.concatenate([columns[f"item_id_{s}"].ravel() for s in suffixes]))
    others = sorted(set(range(len(start))) - seen | {0})
    assert len(others) > 3
    np.testing.assert_array_equal(table.numpy()[others], start[others])
    assert not step.optimizer.first[number].numpy()[others].any()
    assert not step.optimizer.second[number].numpy()[others].any()
    assert (table.numpy() != start).any()


@pytest.mark.parametrize(("kind", "native"), [("sim", True), ("din", True), ("dien", True), ("din", False)])
def test_defect_9_gradients_of_tables_are_rows_named_once(kind: str, native: bool) -> None:
    """Seen where they leave for the other ranks: every table, and nothing but tables."""
    seen: list = []

    class Watched(Workers):
        def mean_gradients(self, gradients):
            seen.extend(gradients)
            return list(gradients)

    spec, columns = spec_of(), columns_of(spec_of(), 16)
    model = model_of(spec, settings_of(kind, **FITTING), native)
    step = TrainStep(model, Watched(0, 1), TrainingSettings(micro_batch_size=5))
    step(batch_of(columns, model))
    for variable, gradient in zip(step.variables, seen, strict=True):
        assert isinstance(gradient, tf.IndexedSlices) == any(variable is t for t in tables_of(model)), variable.name
        if isinstance(gradient, tf.IndexedSlices):
            ids = gradient.indices.numpy().tolist()
            assert len(ids) == len(set(ids))
            assert 0 not in ids
            assert len(ids) == len(gradient.values)
