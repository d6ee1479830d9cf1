"""Dropout in the training step: other masks each time, the same ones after a resume, none in what is served."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.training.models.samples import columns_of, label_of, model_of, settings_of, spec_of, tensors
from training.checkpoint import open_checkpoint, save_checkpoint
from training.distributed import Workers
from training.evaluation import scoring_function
from training.input_pipeline import Batch
from training.settings import Settings, TrainingSettings
from training.step import TrainStep

KINDS = ["sim", "din", "dien"]
RANDOM = ("Random", "Philox", "Rng")


class Second(Workers):
    """Rank 1 of two, for what it does by itself."""

    def mean_gradients(self, gradients: Sequence[Any]) -> list[Any]:
        return list(gradients)


def settings(kind: str, **training: Any) -> Settings:
    return Settings(model=settings_of(kind, dropout_rate=0.5), training=TrainingSettings(**training))


def step_of(given: Settings, seed: int = 5, workers: Workers | None = None) -> TrainStep:
    model = model_of(spec_of(), given.model)
    return TrainStep(model, workers or Workers(0, 1), given.training, seed=seed)


def batch_of(step: TrainStep, number: int = 0, rows: int = 16) -> Batch:
    columns = columns_of(spec_of(), rows, number)
    return Batch(tensors(columns, step.model), label_of(columns), rows)


def has_random(graph: Any) -> bool:
    """Of the graph and of the functions that it calls."""
    text = str(graph.as_graph_def())
    return any(word in line for line in text.splitlines() if line.strip().startswith("op: ") for word in RANDOM)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimizer", ["adam", "lazy_adam"])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(kind: str, optimizer: str, tmp_path: Path) -> None:
    given = settings(kind, optimizer=optimizer, micro_batch_size=6)
    whole = step_of(given)
    for number in range(4):
        if number == 2:
            save_checkpoint(tmp_path, whole, spec_of(), given, 1, {})
        whole(batch_of(whole, number))
    resumed = step_of(given)
    open_checkpoint(tmp_path).restore_step(resumed)
    for number in (2, 3):
        resumed(batch_of(resumed, number))
    for a, b in zip(whole.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_masks_change_with_seed_step_micro_batch_and_rank() -> None:
    """The weights stay, so that only the masks can change the scores of the same rows."""
    still = settings("din", optimizer="sgd", lr=0.0, micro_batch_size=16)
    step, other_seed, second = step_of(still), step_of(still, seed=6), step_of(still, workers=Second(1, 2))
    batch = batch_of(step)
    twice = Batch({n: tf.concat([v, v], 0) for n, v in batch.features.items()}, tf.tile(batch.label, [2]), 32)
    first, *others = (s(twice).logits.numpy() for s in (step, step, other_seed, second))
    for other in (first[16:], *(logits[:16] for logits in others)):
        assert np.abs(first[:16] - other).max() > 1e-3
    np.testing.assert_array_equal(first, step_of(still)(twice).logits)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_served_draws_nothing(kind: str) -> None:
    step = step_of(settings(kind))
    assert not has_random(scoring_function(step.model).graph)
    assert has_random(step._backward.get_concrete_function().graph)
    assert not has_random(TrainStep(model_of(spec_of(), settings_of(kind)), Workers(0, 1), TrainingSettings())
                          ._backward.get_concrete_function().graph)  # fmt: skip


@pytest.mark.slow
def test_xla_draws_other_masks_each_step_too() -> None:
    step = step_of(settings("din", optimizer="sgd", lr=0.0, xla=True))
    batch = batch_of(step)
    assert np.abs(step(batch).logits - step(batch).logits).max() > 1e-3
