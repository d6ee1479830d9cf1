"""Learning rates by step, by hand."""

from __future__ import annotations

import math

import pytest
import tensorflow as tf

from training.errors import SettingsError
from training.schedules import learning_rate_schedule
from training.settings import TrainingSettings


def rates(steps: int, total: int | None, **options) -> list[float]:
    schedule = learning_rate_schedule(TrainingSettings(lr=0.4, **options), total)
    return [float(schedule(tf.constant(step, tf.float32))) for step in range(1, steps + 1)]


def test_constant_needs_no_total() -> None:
    assert rates(3, None) == pytest.approx([0.4, 0.4, 0.4])


def test_warmup_rises_linearly_and_is_over_after_its_steps() -> None:
    assert rates(5, None, warmup_steps=3) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])
    assert rates(5, 10, warmup_steps=3) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])


def test_linear_falls_from_the_whole_rate_towards_zero() -> None:
    assert rates(4, 4, lr_schedule="linear") == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert rates(5, 4, lr_schedule="linear")[-1] == 0.0


def test_cosine_is_half_way_in_the_middle() -> None:
    expected = [0.2 * (1 + math.cos(math.pi * n / 4)) for n in range(4)]
    assert rates(4, 4, lr_schedule="cosine") == pytest.approx(expected)
    assert rates(4, 4, lr_schedule="cosine")[2] == pytest.approx(0.2)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_falls_only_after_the_warmup(kind: str) -> None:
    got = rates(6, 6, lr_schedule=kind, warmup_steps=2)
    assert got[:3] == pytest.approx([0.4 / 3, 0.8 / 3, 0.4])
    assert got[2] > got[3] > got[4] > got[5] > 0.0
    assert rates(9, 6, lr_schedule=kind, warmup_steps=2)[6:] == pytest.approx([0.0, 0.0, 0.0], abs=1e-8)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_a_falling_rate_needs_the_number_of_steps(kind: str) -> None:
    with pytest.raises(SettingsError, match=f"lr_schedule: got {kind}, but the number of training rows is unknown"):
        rates(1, None, lr_schedule=kind)


@pytest.mark.parametrize(("warmup", "total"), [(4, 4), (9, 4)])
def test_a_warmup_longer_than_the_training_is_refused(warmup: int, total: int) -> None:
    with pytest.raises(SettingsError, match=f"warmup_steps: expected fewer than the {total} steps.*got {warmup}"):
        rates(1, total, warmup_steps=warmup)


def test_schedules_can_be_traced() -> None:
    schedule = learning_rate_schedule(TrainingSettings(lr=0.4, lr_schedule="cosine", warmup_steps=1), 8)
    traced = tf.function(schedule)
    assert traced(tf.constant(3.0)).numpy() == pytest.approx(schedule(tf.constant(3.0)).numpy())
