"""The training step on real models: micro-batches, clipping, sparse tables, loss scaling, ranks without rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.training.models.samples import (
    KINDS,
    Columns,
    columns_of,
    label_of,
    model_of,
    settings_of,
    spec_of,
    tables_of,
    tensors,
)  # fmt: skip
from tests.training.optimization.steps import FITTING, batch_of
from training.distributed import Workers
from training.settings import TrainingSettings
from training.step import AbandonedError, StepOutput, TrainStep, batch_signature


def trained(
    kind: str, columns: Columns, options: dict[str, Any], native: bool = True, **model_options: Any
) -> tuple[TrainStep, StepOutput]:
    """A fresh model after one step, and what the step gave."""
    model = model_of(spec_of(), settings_of(kind, **{**FITTING, **model_options}), native)
    step = TrainStep(model, Workers(0, 1), TrainingSettings(**{"lr": 0.1, "optimizer": "sgd", **options}))
    return step, step(batch_of(columns, model))


def test_no_native_kernels_means_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("a kernel is asked for")

    monkeypatch.setattr("training.sparse_gradients.load_kernels", refuse)
    model = model_of(spec_of(), settings_of("sim", **FITTING), native=False)
    step = TrainStep(model, Workers(0, 1), TrainingSettings(), native=False)
    assert np.isfinite(step(batch_of(columns_of(spec_of(), 16), model)).logits).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_sgd_follows_the_gradient(kind: str) -> None:
    columns = columns_of(spec_of(), 16)
    model = model_of(spec_of(), settings_of(kind, **FITTING), native=True)
    with tf.GradientTape() as tape:
        loss = model.loss_terms(tensors(columns, model), label_of(columns))
    before = [v.numpy() for v in model.trainable_variables]
    gradients = [np.array(tf.convert_to_tensor(g)) for g in tape.gradient(loss.total, model.trainable_variables)]
    step, output = trained(kind, columns, {})
    for variable, start, gradient in zip(step.variables, before, gradients, strict=True):
        if any(variable is t for t in tables_of(step.model)):
            gradient[0] = 0
        np.testing.assert_allclose(variable, start - 0.1 * gradient, atol=1e-6, err_msg=variable.name)
    for name, value in loss.terms.items():
        np.testing.assert_allclose(output.terms[name], value, rtol=1e-6)
    np.testing.assert_allclose(output.logits, loss.logits, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_output_is_tensors_and_not_numbers(kind: str) -> None:
    """So that nothing waits for the device."""
    _, output = trained(kind, columns_of(spec_of(), 5), {})
    assert all(isinstance(t, tf.Tensor) and t.shape == () for t in output.terms.values())
    assert isinstance(output.logits, tf.Tensor)
    assert output.logits.shape == (5,)


@pytest.mark.parametrize(("kind", "micro"), [("sim", 5), ("din", 1), ("din", 5), ("dien", 5)])
def test_micro_batches_add_up_to_the_whole_batch(kind: str, micro: int) -> None:
    """Exact where every row has its share: not the auxiliary term, whose mean runs over the real steps of a part."""
    columns = columns_of(spec_of(), 16)
    (whole, one), (parts, other) = (
        trained(kind, columns, {"micro_batch_size": size}, aux_loss_weight=0.0) for size in (16, micro)
    )
    for a, b in zip(whole.variables, parts.variables, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-6, err_msg=a.name)
    np.testing.assert_allclose(other.logits, one.logits, atol=1e-6)
    for name, value in one.terms.items():
        np.testing.assert_allclose(other.terms[name], value, rtol=1e-5)


@pytest.mark.parametrize("norm", [0.01, 1e6])
def test_gradients_are_clipped_to_their_global_norm(norm: float) -> None:
    columns = columns_of(spec_of(), 16)
    free, _ = trained("din", columns, {})
    clipped, _ = trained("din", columns, {"gradient_clip_norm": norm})
    start = [v.numpy() for v in model_of(spec_of(), settings_of("din", **FITTING)).trainable_variables]
    free_change = [v.numpy() - s for v, s in zip(free.variables, start, strict=True)]
    change = [v.numpy() - s for v, s in zip(clipped.variables, start, strict=True)]
    length = np.sqrt(sum((c**2).sum() for c in free_change)) / 0.1
    factor = min(1.0, norm / length)
    assert (factor < 1) == (norm < 1)
    for got, expected in zip(change, free_change, strict=True):
        np.testing.assert_allclose(got, factor * expected, atol=1e-6)


def test_a_float16_step_that_overflows_is_skipped() -> None:
    spec, columns = spec_of(), columns_of(spec_of(), 16)
    model = model_of(spec, settings_of("sim"), dtype=tf.float16)
    step = TrainStep(model, Workers(0, 1), TrainingSettings(lr=0.01))
    step(batch_of(columns, model))
    before, steps = [v.numpy() for v in step.variables], step.optimizer.steps.numpy()
    step.loss_scale.scale.assign(2.0**60)
    step(batch_of(columns, model))
    assert step.loss_scale.scale.numpy() == 2.0**59
    assert step.optimizer.steps.numpy() == steps
    for variable, held in zip(step.variables, before, strict=True):
        np.testing.assert_array_equal(variable, held)
    step.loss_scale.scale.assign(2.0**10)
    step(batch_of(columns, model))
    assert step.optimizer.steps.numpy() == steps + 1


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_a_low_precision_step_is_near_a_float32_one(dtype: tf.DType) -> None:
    spec, columns = spec_of(), columns_of(spec_of(), 16)
    changes = []
    for kind in (tf.float32, dtype):
        model = model_of(spec, settings_of("sim"), dtype=kind, scale=0.15)
        start = np.concatenate([v.numpy().ravel() for v in model.trainable_variables])
        step = TrainStep(model, Workers(0, 1), TrainingSettings(lr=0.1, optimizer="sgd"))
        step(batch_of(columns, model))
        changes.append(np.concatenate([v.numpy().ravel() for v in step.variables]) - start)
    assert np.linalg.norm(changes[1] - changes[0]) < 0.05 * np.linalg.norm(changes[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_rank_without_rows_adds_zeros(kind: str) -> None:
    columns = {name: values[:0] for name, values in columns_of(spec_of(), 5).items()}
    model = model_of(spec_of(), settings_of(kind))
    before = [v.numpy() for v in model.trainable_variables]
    step = TrainStep(model, Workers(0, 1), TrainingSettings(optimizer="sgd"))
    output = step(batch_of(columns, model, global_rows=3))
    assert output.terms == {}
    assert output.logits.shape == (0,)
    for variable, start in zip(step.variables, before, strict=True):
        np.testing.assert_array_equal(variable, start)


def test_shares_of_ranks_add_up_to_the_gradient_of_the_global_batch() -> None:
    """Two ranks of a batch of 16 with 11 and 5 rows: the mean of what each sends is the gradient of all rows."""
    sent: list[list] = []

    class Rank(Workers):
        def mean_gradients(self, gradients):
            sent.append([np.array(tf.convert_to_tensor(g)) for g in gradients])
            return list(gradients)

    columns = columns_of(spec_of(), 16)
    for workers, part in ((Rank(0, 2), slice(11)), (Rank(1, 2), slice(11, None)), (Rank(0, 1), slice(None))):
        model = model_of(spec_of(), settings_of("sim", aux_loss_weight=0.0, **FITTING), native=True)
        mine = {name: values[part] for name, values in columns.items()}
        TrainStep(model, workers, TrainingSettings(optimizer="sgd"))(batch_of(mine, model, global_rows=16))
    for first, second, whole in zip(*sent, strict=True):
        np.testing.assert_allclose((first + second) / 2, whole, atol=1e-6)


def test_a_step_given_up_between_micro_batches_has_changed_nothing_and_ranks_ask_equally_often() -> None:
    """Ranks with 11 and 5 rows of 16 in micro-batches of 3 have four and two, their even share is three."""
    columns = columns_of(spec_of(), 16)
    for rank, mine in ((0, slice(11)), (1, slice(11, None))):
        asked: list[tuple[int, int]] = []
        model = model_of(spec_of(), settings_of("sim", **FITTING), native=True)
        step = TrainStep(model, _Silent(rank, 2), TrainingSettings(micro_batch_size=3))
        before = [np.array(v) for v in step.variables]
        batch = batch_of({name: values[mine] for name, values in columns.items()}, model, global_rows=16)
        with pytest.raises(AbandonedError):
            step(batch, lambda part, parts: part == 2)
        for variable, start in zip(step.variables, before, strict=True):
            np.testing.assert_array_equal(variable, start)
        assert step.optimizer.steps.numpy() == 0
        step(batch, lambda *place, asked=asked: bool(asked.append(place)))
        assert asked == [(1, 3), (2, 3)]
        assert step.optimizer.steps.numpy() == 1


class _Silent(Workers):
    """A rank of two whose partner sends nothing."""

    def mean_gradients(self, gradients):
        return list(gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_all_padding_histories_train(kind: str) -> None:
    columns = columns_of(spec_of(), 8)
    for name, values in columns.items():
        if name.endswith(("_pos", "_neg")):
            values[:] = 0
    step, output = trained(kind, columns, {"optimizer": "adam"})
    assert np.isfinite(output.terms["total_loss"])
    assert all(np.isfinite(v.numpy()).all() for v in step.variables)


@pytest.mark.parametrize(("kind", "native"), [("sim", True), ("din", True), ("dien", True), ("din", False)])
def test_training_learns(kind: str, native: bool) -> None:
    columns = columns_of(spec_of(), 64)
    columns["label"] = (columns["item_id_trgt"] % 2).astype(np.int64)
    model = model_of(spec_of(), settings_of(kind, **FITTING), native, scale=0.1)
    step = TrainStep(model, Workers(0, 1), TrainingSettings(lr=0.02, optimizer="lazy_adam", warmup_steps=2))
    losses = [float(step(batch_of(columns, model)).terms["classification_loss"]) for _ in range(25)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sim", "din"])
def test_xla_gives_the_same_step(kind: str) -> None:
    columns = columns_of(spec_of(), 16)
    (plain, _), (compiled, _) = (
        trained(kind, columns, {"xla": xla, "micro_batch_size": 8}, native=False) for xla in (False, True)
    )
    for a, b in zip(plain.variables, compiled.variables, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-5, err_msg=a.name)


def test_schedules_reach_the_optimizer() -> None:
    columns = columns_of(spec_of(), 8)
    model = model_of(spec_of(), settings_of("din"))
    settings = TrainingSettings(lr=0.1, optimizer="sgd", lr_schedule="linear")
    step = TrainStep(model, Workers(0, 1), settings, total_steps=1)
    step(batch_of(columns, model))
    held = [v.numpy() for v in step.variables]
    step(batch_of(columns, model))  # beyond the last step the rate is zero
    for variable, before in zip(step.variables, held, strict=True):
        np.testing.assert_array_equal(variable, before)


def test_the_signature_has_a_free_batch_axis() -> None:
    model = model_of(spec_of(users=("user_id", "age")), settings_of("din"))
    features, label = batch_signature(model.trained)
    assert (features["user_id"].shape.as_list(), features["user_id"].dtype) == ([None], tf.int32)
    assert (features["age"].shape.as_list(), features["age"].dtype) == ([None], tf.float32)
    assert features["item_id_pos"].shape.as_list() == [None, 12]
    assert (label.shape.as_list(), label.dtype) == ([None], tf.float32)
