"""Candidates of users, [U, N], score as the U·N rows would: every model, every option, histories of any length."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.training.models.samples import HISTORY, LONG, Columns, columns_of, model_of, settings_of, spec_of, tensors
from tests.training.models.variants import VARIANTS
from training.feature_spec import FeatureSpec
from training.models.base import CtrModel

USERS, EACH = 3, 5
KINDS = ["sim", "din", "dien"]


def request_of(spec: FeatureSpec, users: int = USERS, each: int = EACH, steps: int = HISTORY) -> Columns:
    """Users [U, …] with at most `steps` real steps of history, the first with none; candidates [U, N]."""
    columns = columns_of(spec, users, seed=4)
    rng = np.random.default_rng(5)
    for name, feature in spec.features.items():
        if feature.dimensions:
            columns[name][:, : HISTORY - steps] = 0
            columns[name][0] = 0
        elif name.endswith("_trgt") and feature.cardinality is not None:
            columns[name] = rng.integers(0, feature.cardinality + 1, (users, each))
    return columns


def pointwise(columns: Columns, model: CtrModel, each: int) -> Columns:
    """The same request as U·N rows of full width."""
    candidates = {f.name for f in model.candidates}
    return {n: v.reshape(-1) if n in candidates else np.repeat(v, each, axis=0) for n, v in columns.items()}


def served(columns: Columns, model: CtrModel, steps: int = HISTORY) -> dict[str, tf.Tensor]:
    features = tensors(columns, model)
    return {f.name: features[f.name][:, HISTORY - steps :] if f.dimensions else features[f.name] for f in model.served}


def compare(spec: FeatureSpec, model: CtrModel, steps: int, users: int = USERS, each: int = EACH) -> None:
    columns = request_of(spec, users, each, steps)
    got = model.call(served(columns, model, steps), training=False)
    expected = model.call(served(pointwise(columns, model, each), model), training=False)
    assert got.shape == (users, each)
    np.testing.assert_allclose(got, tf.reshape(expected, [users, each]), atol=1e-5)
    if users * each > 1:
        assert np.ptp(got) > 1e-3


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_scores_candidates_as_rows(variant: str) -> None:
    kind, options, specification = VARIANTS[variant]
    spec = spec_of(**specification)
    model = model_of(spec, settings_of(kind, **options))
    for steps in (HISTORY, 1, HISTORY - LONG + 2):
        compare(spec, model, steps)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("users", "each"), [(1, 1), (1, 9), (4, 1), (2, 3)])
def test_any_number_of_users_candidates_and_steps_in_one_graph(kind: str, users: int, each: int) -> None:
    spec = spec_of()
    model = model_of(spec, settings_of(kind))
    candidates = {f.name for f in model.candidates}
    signature = {
        f.name: tf.TensorSpec([None, None] if f.dimensions or f.name in candidates else [None], tf.int32)
        for f in model.served
    }
    score = tf.function(lambda features: model.call(features, training=False), input_signature=[signature])
    for steps in range(HISTORY + 1):
        columns = request_of(spec, users, each, steps)
        expected = model.call(served(pointwise(columns, model, each), model), training=False)
        got = score(served(columns, model, steps))
        np.testing.assert_allclose(got, tf.reshape(expected, [users, each]), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_of_more_steps_than_the_models_the_newest_count(kind: str) -> None:
    spec = spec_of()
    model = model_of(spec, settings_of(kind))
    features = served(request_of(spec), model)
    older = {
        f.name: tf.pad(features[f.name], [[0, 0], [2, 0]], constant_values=1) for f in model.served if f.dimensions
    }
    np.testing.assert_array_equal(model.call({**features, **older}, False), model.call(features, False))


@pytest.mark.parametrize("kind", KINDS)
def test_no_candidates_give_no_scores(kind: str) -> None:
    spec = spec_of()
    model = model_of(spec, settings_of(kind))
    features = served(request_of(spec), model)
    none = {f.name: features[f.name][:, :0] for f in model.candidates}
    assert model.call({**features, **none}, training=False).shape == (USERS, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_as_near_to_float32_as_its_rows_are(kind: str) -> None:
    spec = spec_of()
    columns = request_of(spec)
    logits = []
    for dtype in (tf.float32, tf.bfloat16):
        model = model_of(spec, settings_of(kind), dtype=dtype, scale=0.2)
        logits.append(model.call(served(columns, model), training=False))
    rows = tf.reshape(model.call(served(pointwise(columns, model, EACH), model), training=False), [USERS, EACH])
    assert logits[1].dtype == tf.float32
    size = np.abs(logits[0]).max()
    np.testing.assert_allclose(logits[1], logits[0], atol=0.03 * size)
    np.testing.assert_allclose(logits[1], rows, atol=0.03 * size)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_compiled_kernels_score_candidates_too(variant: str) -> None:
    kind, options, specification = VARIANTS[variant]
    spec = spec_of(**specification)
    widths = {"embedding_dim": 16, "activation_unit_dims": (16, 8)}  # all kernels: widths in whole registers
    model = model_of(spec, settings_of(kind, **{**options, **widths}), native=True, scale=0.2)
    if not model.has_kernels:
        pytest.skip("needs the compiled kernels: make kernels")
    for steps in (HISTORY, 1):
        compare(spec, model, steps)
    compare(spec, model, HISTORY, users=1, each=70)


@pytest.mark.parametrize("kind", KINDS)
def test_what_belongs_to_the_user_is_looked_up_once(kind: str) -> None:
    """No look-up of history ids, and no product with the history's items, has the size of all rows."""
    spec = spec_of()
    model = model_of(spec, settings_of(kind))
    columns = request_of(spec, users=2, each=7)
    graph = tf.function(lambda f: model.call(f, training=False)).get_concrete_function(served(columns, model)).graph
    looked_up = [op.outputs[0].shape.as_list() for op in graph.get_operations() if op.type == "GatherV2"]
    assert looked_up
    assert [shape for shape in looked_up if len(shape) == 3 and shape[0] not in (2, None)] == []
    assert sum(len(shape) == 3 for shape in looked_up) >= 2
