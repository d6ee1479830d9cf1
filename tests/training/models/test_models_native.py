"""With shared histories and compiled kernels, every model gives the same losses, scores and gradients as without."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from tests.training.models.samples import (
    LONG,
    Columns,
    columns_of,
    label_of,
    losses_and_gradients,
    model_of,
    settings_of,
    spec_of,
    tensors,
)  # fmt: skip
from tests.training.models.variants import VARIANTS
from training.models.base import CtrModel
from training.native import kernels_available
from training.settings import ModelSettings

FITTING = {"embedding_dim": 16, "activation_unit_dims": (16, 8)}  # all kernels: widths in whole registers
ODD = {"embedding_dim": 4, "activation_unit_dims": (7, 5)}  # the fallbacks
WIDE = {"embedding_dim": 8, "activation_unit_dims": (80, 40)}

pytestmark = pytest.mark.skipif(not kernels_available(), reason="the CPU kernels are not compiled: no compiler")


def assert_same(variant: str, widths: dict, rows: int, edit=lambda columns: None) -> None:
    kind, options, shape = VARIANTS[variant]
    spec, settings = spec_of(**shape), settings_of(kind, **{**options, **widths})
    columns = columns_of(spec, rows)
    edit(columns)
    plain = model_of(spec, settings, native=False, scale=0.2)
    native = model_of(spec, settings, native=True, scale=0.2)
    (losses, gradients), (native_losses, native_gradients) = (losses_and_gradients(m, columns) for m in (plain, native))
    for name, value in losses.items():
        np.testing.assert_allclose(native_losses[name], value, atol=1e-5, err_msg=name)
    for variable, got, expected in zip(plain.trainable_variables, native_gradients, gradients, strict=True):
        tolerance = 2e-5 * max(np.abs(expected).max(), 2e-2)  # terms of a small sum are larger than it
        np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance, err_msg=variable.name)
    features = {f.name: tensors(columns, native)[f.name] for f in native.served}
    np.testing.assert_allclose(native.call(features, training=False), plain.call(features, training=False), atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_option(variant: str) -> None:
    assert_same(variant, FITTING, 20)


@pytest.mark.parametrize("widths", [ODD, WIDE])
@pytest.mark.parametrize(
    "variant", ["sim", "sim, activation unit", "sim, multi-head with times", "din, activation unit", "dien"]
)
def test_widths_that_fit_some_kernels_or_none(variant: str, widths: dict) -> None:
    assert_same(variant, widths, 20)


@pytest.mark.parametrize("rows", [1, 2, 63, 64, 65, 130])
@pytest.mark.parametrize("variant", ["sim", "din", "dien"])
def test_any_number_of_rows(variant: str, rows: int) -> None:
    assert_same(variant, FITTING, rows)


@pytest.mark.parametrize("variant", ["sim", "sim, hard search", "din", "dien"])
def test_histories_of_nothing_but_padding(variant: str) -> None:
    def empty(columns: dict) -> None:
        for name, values in columns.items():
            if name.endswith(("_pos", "_neg")):
                values[:] = 0

    assert_same(variant, FITTING, 9, empty)


@pytest.mark.parametrize("variant", ["sim", "din", "dien"])
def test_ids_zero_anywhere(variant: str) -> None:
    def zeros(columns: dict) -> None:
        rng = np.random.default_rng(0)
        for name, values in columns.items():
            if name not in ("label", "age"):
                columns[name] = values * (rng.random(values.shape) < 0.7)

    assert_same(variant, FITTING, 40, zeros)


@pytest.mark.parametrize("kind", ["sim", "din", "dien"])
def test_bfloat16_is_near_float32(kind: str) -> None:
    spec = spec_of()
    columns = columns_of(spec, 130)
    full, low = (
        losses_and_gradients(model_of(spec, settings_of(kind, **FITTING), True, dtype, scale=0.2), columns)
        for dtype in (tf.float32, tf.bfloat16)
    )
    for name, value in full[0].items():
        np.testing.assert_allclose(low[0][name], value, atol=0.05, err_msg=name)
    got, expected = (np.concatenate([g.ravel() for g in gradients]) for gradients in (low[1], full[1]))
    assert np.linalg.norm(got - expected) <= 0.05 * np.linalg.norm(expected)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_the_same_batch_gives_the_same_bits(dtype: tf.DType) -> None:
    spec = spec_of()
    model, columns = model_of(spec, settings_of("sim", **FITTING), True, dtype), columns_of(spec, 130)
    one, other = losses_and_gradients(model, columns), losses_and_gradients(model, columns)
    for a, b in zip(one[1], other[1], strict=True):
        np.testing.assert_array_equal(a, b)


# what makes SIM score, select and sum in separate steps: another search, or another attention in its place
SEARCHES_IN_STEPS = {
    name for name in VARIANTS if re.match("sim, (hard|projected|bilinear|activation unit|multi-head)", name)
}


def operations(model: CtrModel, columns: Columns, training: bool) -> Counter[str]:
    """How many operations of each type the model's graph has, forward and, in training, backward."""

    def forward() -> None:
        if training:
            losses_and_gradients_of(model, columns)
        else:
            features = tensors(columns, model)
            model.call({f.name: features[f.name] for f in model.served}, training=False)

    graph = tf.function(forward).get_concrete_function().graph
    return Counter(operation.type for operation in graph.get_operations())


def losses_and_gradients_of(model: CtrModel, columns: Columns) -> None:
    with tf.GradientTape() as tape:
        loss = model.loss_terms(tensors(columns, model), label_of(columns))
    tape.gradient(loss.total, model.trainable_variables)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name.startswith("sim")])
def test_sim_searches_and_attends_in_one_pass_unless_an_option_forbids_it(variant: str) -> None:
    _, options, shape = VARIANTS[variant]
    spec = spec_of(**shape)
    model, columns = model_of(spec, settings_of("sim", **{**options, **FITTING}), native=True), columns_of(spec, 5)
    fused = int(variant not in SEARCHES_IN_STEPS)
    scored, trained = (operations(model, columns, training) for training in (False, True))
    assert (scored["RecserveDotAttention"], trained["RecserveDotAttention"]) == (fused, fused)
    assert trained["RecserveDotAttentionGradient"] == fused
    selections = ("RecserveTopKMask", "RecserveHistoryScores", "RecserveHistoryPool", "TopKV2")
    assert fused == (sum(trained[name] for name in selections) == 0)


def test_the_settings_that_sim_has_by_default_search_and_attend_in_one_pass() -> None:
    spec = spec_of()
    columns, settings = columns_of(spec, 5), ModelSettings(model_type="sim", long_seq_length=LONG)
    for native in (True, False):
        counts = operations(model_of(spec, settings, native), columns, training=True)
        assert counts["RecserveDotAttention"] == counts["RecserveDotAttentionGradient"] == native


def test_an_id_outside_of_its_table_is_an_error_not_a_crash() -> None:
    spec = spec_of()
    model, columns = model_of(spec, settings_of("sim", **FITTING), True), columns_of(spec, 5)
    columns["item_id_pos"][2, 3] = 61
    with pytest.raises(tf.errors.InvalidArgumentError, match="outside its table of 61"):
        model.loss_terms(tensors(columns, model), label_of(columns))
