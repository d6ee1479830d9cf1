"""SIM: wiring against an independent numpy pass, masks, precision, specifications that do not fit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import tensorflow as tf

from training.distributed import Workers
from training.errors import SettingsError
from training.feature_spec import FeatureSpec, FeatureSpecError
from training.input_pipeline import Batch
from training.models import build_model
from training.models.base import CtrModel
from training.settings import ModelSettings
from training.step import TrainStep

SMALL = ModelSettings(embedding_dim=4, stage_one_mlp_dims=(8,), stage_two_mlp_dims=(8, 6), aux_mlp_dims=(5, 4), k=3,
                      long_seq_length=8)  # fmt: skip
HISTORY = 12


@pytest.fixture(scope="module")
def spec(amazon_raw: dict) -> FeatureSpec:
    return FeatureSpec.from_dict(amazon_raw)


@pytest.fixture(scope="module")
def amazon_raw(raw_spec_of) -> dict:
    return raw_spec_of(history=HISTORY)


@pytest.fixture
def model(spec: FeatureSpec) -> CtrModel:
    tf.random.set_seed(3)
    return build_model(spec, SMALL)


@pytest.fixture
def columns(columns_of) -> dict[str, np.ndarray]:
    return columns_of(16, seed=5, history=HISTORY, longest=HISTORY)


def tensors(columns: Mapping[str, np.ndarray], model: CtrModel) -> dict[str, tf.Tensor]:
    return {f.name: tf.constant(columns[f.name], tf.int32) for f in model.trained}


def numpy_mlp(mlp, x: np.ndarray) -> np.ndarray:
    for dense, prelu in zip(mlp.hidden, mlp.activations, strict=True):
        x = x @ dense.kernel.numpy() + dense.bias.numpy()
        x = np.where(x > 0, x, prelu.alpha.numpy() * x)
    return (x @ mlp.head.kernel.numpy() + mlp.head.bias.numpy())[:, 0]


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def numpy_stage_two(model, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Row by row from the facts: attention over the k best of the long part, their mean, DIEN on the short part."""
    tables = [t.table.numpy() for t in model.item_tables]
    items = lambda suffix: np.concatenate(  # noqa: E731
        [tables[0][columns[f"item_id_{suffix}"]], tables[1][columns[f"cat_id_{suffix}"]]], axis=-1
    )
    target, history = items("trgt"), items("pos")
    mask = columns["item_id_pos"] > 0
    short = slice(SMALL.long_seq_length, None)
    interest = model.evolution(
        tf.constant(history[:, short] * mask[:, short, None], tf.float32),
        tf.constant(target),
        tf.constant(mask[:, short]),
    ).interest.numpy()
    joined = []
    for row in range(len(target)):
        long = history[row, : SMALL.long_seq_length][mask[row, : SMALL.long_seq_length]]
        scores = long @ target[row]
        best = np.argsort(-scores)[: SMALL.k]
        searched = softmax(scores[best]) @ long[best] if len(best) else np.zeros(8)
        average = long[best].mean(axis=0) if len(best) else np.zeros(8)
        user = model.user_tables[0].table.numpy()[columns["user_id"][row]]
        joined.append(np.concatenate([target[row], searched, average, interest[row], user]))
    return numpy_mlp(model.stage_two, np.array(joined))


def test_forward_pass_against_numpy(model: CtrModel, columns: dict) -> None:
    got = model.call(tensors(columns, model), training=False)
    np.testing.assert_allclose(got, numpy_stage_two(model, columns), atol=1e-5)


def test_total_is_half_the_two_stages_plus_auxiliary(model: CtrModel, columns: dict) -> None:
    features, label = tensors(columns, model), tf.constant(columns["label"], tf.float32)
    loss = model.loss_terms(features, label)
    assert set(loss.terms) == {"classification_loss", "dien_aux_loss", "total_loss"}
    np.testing.assert_allclose(
        loss.terms["total_loss"], loss.terms["classification_loss"] + loss.terms["dien_aux_loss"], rtol=1e-6
    )
    np.testing.assert_allclose(loss.logits, model.call(features, training=False), atol=1e-6)
    logits = loss.logits.numpy()
    stage_two = np.mean(np.logaddexp(0, logits) - columns["label"] * logits)
    assert loss.terms["classification_loss"] > 0.5 * stage_two


def test_gradients_reach_every_variable(model: CtrModel, columns: dict) -> None:
    with tf.GradientTape() as tape:
        total = model.loss_terms(tensors(columns, model), tf.constant(columns["label"], tf.float32)).total
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(total, model.trainable_variables), strict=True
    ):
        assert gradient is not None, variable.name
        assert np.abs(tf.convert_to_tensor(gradient).numpy()).max() > 0, variable.name


def _rename(raw: dict, old: str, new: str) -> None:
    raw["feature_spec"][new] = raw["feature_spec"].pop(old)
    raw["channel_spec"]["user_features"] = [new]
    for mapping in raw["source_spec"].values():
        mapping[0]["features"] = [new if f == old else f for f in mapping[0]["features"]]


def test_all_mistakes_of_the_channels_are_reported_at_once(raw_spec_of) -> None:
    raw = raw_spec_of(history=HISTORY)
    del raw["channel_spec"]["user_features"], raw["channel_spec"]["label"]
    raw["feature_spec"]["cat_id_pos"]["cardinality"] = 9
    with pytest.raises(FeatureSpecError) as caught:
        build_model(FeatureSpec.from_dict(raw), SMALL)
    assert len(caught.value.problems) == 3


def test_the_padding_row_stays_zero_whatever_ids_the_data_has(model: CtrModel, columns: dict) -> None:
    columns["user_id"][::2] = 0
    columns["cat_id_pos"][::3] = 0
    columns["item_id_trgt"][1] = 0
    features, label = tensors(columns, model), tf.constant(columns["label"], tf.float32)
    step = TrainStep(model, Workers(0, 1), 0.1, 8, tf.float32, False)
    step(Batch(features, label, len(label)))
    for table in (*model.user_tables, *model.item_tables):
        assert not table.table.numpy()[0].any()


def test_all_padding_history_scores_and_trains(model: CtrModel, columns: dict) -> None:
    for name in ("item_id_pos", "cat_id_pos"):
        columns[name][:] = 0
    features, label = tensors(columns, model), tf.constant(columns["label"], tf.float32)
    assert np.isfinite(model.call(features, training=False)).all()
    terms, _ = TrainStep(model, Workers(0, 1), 0.1, 8, tf.float32, False)(Batch(features, label, len(label)))
    assert terms["dien_aux_loss"] == 0.0
    assert np.isfinite(terms["total_loss"])


def test_padded_steps_do_not_matter_even_with_ids_in_other_features(model: CtrModel, columns: dict) -> None:
    before = model.call(tensors(columns, model), training=False).numpy()
    columns["cat_id_pos"][columns["item_id_pos"] == 0] = 3
    np.testing.assert_allclose(model.call(tensors(columns, model), training=False), before, atol=1e-6)


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_low_precision_scores_stay_near_float32(spec: FeatureSpec, columns: dict, dtype: tf.DType) -> None:
    tf.random.set_seed(3)
    low = build_model(spec, SMALL, dtype)
    tf.random.set_seed(3)
    full = build_model(spec, SMALL)
    logits = low.call(tensors(columns, low), training=False)
    assert logits.dtype == tf.float32
    np.testing.assert_allclose(logits, full.call(tensors(columns, full), training=False), atol=0.02)


def test_micro_batches_add_up_to_the_whole_batch(spec: FeatureSpec, columns: dict) -> None:
    """Exact where every row has its share: without the auxiliary term, whose mean runs over real steps."""
    weights = []
    for micro in (16, 5):
        tf.random.set_seed(3)
        model = build_model(spec, SMALL)
        model.auxiliary.loss = lambda *_: tf.constant(0.0)
        step = TrainStep(model, Workers(0, 1), 0.1, micro, tf.float32, False)
        step.variables = tuple(v for v in model.trainable_variables if "auxiliary" not in _path(model, v))
        step.optimizer = type(step.optimizer)(step.variables, 0.1)
        step(Batch(tensors(columns, model), tf.constant(columns["label"], tf.float32), 16))
        weights.append([v.numpy() for v in model.stage_two.trainable_variables])
    for whole, parts in zip(*weights, strict=True):
        np.testing.assert_allclose(parts, whole, atol=2e-4)


def _path(model: tf.Module, variable: tf.Variable) -> str:
    return "auxiliary" if any(variable is v for v in model.auxiliary.variables) else "other"


def test_a_history_without_a_short_part_is_refused(spec: FeatureSpec) -> None:
    with pytest.raises(SettingsError, match=r"long_seq_length: got 12 of a history of 12"):
        build_model(spec, ModelSettings(long_seq_length=HISTORY))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda r: r["channel_spec"]["negative_history"].pop(), "expected 2 features, as in target_item_features"),
        (lambda r: r["channel_spec"]["label"].append("user_id"), "channel_spec.label: expected one feature, got 2"),
        (lambda r: r["feature_spec"]["cat_id_pos"].update(cardinality=9), "shares a table, got 9"),
        (lambda r: r["feature_spec"]["cat_id_pos"].update(dimensions=[7]), "same dimensions"),
        (lambda r: r["channel_spec"].pop("user_features"), "no channel 'user_features'"),
        (lambda r: r["feature_spec"]["user_id"].pop("cardinality"), "user_id.cardinality: missing"),
        (lambda r: r["feature_spec"]["user_id"].update(dimensions=[1]), r"user_id.dimensions: expected none"),
        (lambda r: _rename(r, "user_id", "user-id"), "user-id: cannot be the name of a served input"),
    ],
)
def test_specifications_that_do_not_fit_are_refused(raw_spec_of, change, expected: str) -> None:
    raw = raw_spec_of(history=HISTORY)
    change(raw)
    with pytest.raises(FeatureSpecError, match=expected):
        build_model(FeatureSpec.from_dict(raw), SMALL)
