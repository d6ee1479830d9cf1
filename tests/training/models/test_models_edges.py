"""Rows that are unlike the others, low precision, dropout, and gradients that must reach every weight."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import tensorflow as tf

from tests.training.models.samples import (
    KINDS,
    columns_of,
    label_of,
    losses_and_gradients,
    model_of,
    settings_of,
    spec_of,
    tables_of,
    tensors,
)  # fmt: skip
from tests.training.models.variants import VARIANTS
from training.layers.dropout import dropout_seeds


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_defect_4_a_batch_of_one_scores_and_trains(kind: str, native: bool) -> None:
    """The reference squeezes without an axis: one row loses its axis."""
    spec = spec_of()
    model = model_of(spec, settings_of(kind), native)
    several, features = columns_of(spec, 5), None
    features = tensors({name: values[:1] for name, values in several.items()}, model)
    logits = model.call(features, training=False)
    assert logits.shape == (1,)
    np.testing.assert_allclose(logits, model.call(tensors(several, model), training=False)[:1], atol=1e-6)
    assert model.loss_terms(features, tf.constant([1.0])).logits.shape == (1,)


@pytest.mark.parametrize("kind", KINDS)
def test_defect_4_any_number_of_rows_can_be_traced(kind: str) -> None:
    spec = spec_of()
    model, columns = model_of(spec, settings_of(kind)), columns_of(spec, 5)
    signature = {
        f.name: tf.TensorSpec([None, *f.dimensions], tf.int32 if f.cardinality else tf.float32) for f in model.served
    }
    scored = tf.function(lambda features: model.call(features, training=False), input_signature=[signature])
    features = tensors(columns, model)
    served = {f.name: features[f.name] for f in model.served}
    concrete = scored.get_concrete_function()
    assert concrete.structured_outputs.shape.as_list() == [None]
    np.testing.assert_allclose(scored(served), model.call(features, training=False), atol=1e-6)
    assert scored({name: v[:0] for name, v in served.items()}).shape == (0,)


@pytest.mark.parametrize("kind", ["sim", "dien"])
@pytest.mark.parametrize("native", [False, True])
def test_defect_3_extreme_weights_give_a_finite_loss(kind: str, native: bool) -> None:
    """Auxiliary logits of a hundred and more, where the reference's loss is NaN."""
    spec = spec_of()
    model, columns = model_of(spec, settings_of(kind), native), columns_of(spec, 9)
    model.auxiliary.head.bias.assign([150.0])
    losses, gradients = losses_and_gradients(model, columns)
    assert 100 < losses["dien_aux_loss"] < 1000
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("native", [False, True])
def test_defect_5_a_long_part_shorter_than_k(native: bool) -> None:
    spec = spec_of()
    model, columns = model_of(spec, settings_of("sim", k=50, long_seq_length=3), native), columns_of(spec, 9)
    assert np.isfinite(losses_and_gradients(model, columns)[0]["total_loss"])


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("attention", ["dot", "bilinear", "activation_unit", "multi_head"])
def test_defect_6_din_scores_outside_of_training(attention: str, native: bool) -> None:
    """With what is served alone: no label and no negative history."""
    spec = spec_of()
    model, columns = model_of(spec, settings_of("din", history_attention=attention), native), columns_of(spec, 9)
    assert not any(f.name.endswith("_neg") for f in model.trained)
    served = {f.name: tensors(columns, model)[f.name] for f in model.served}
    logits = model.call(served, training=False)
    np.testing.assert_array_equal(logits, model.call(served, training=True))  # dropout is off
    assert logits.shape == (9,)


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_defect_8_items_whose_scores_underflow_are_still_attended_to(dtype: tf.DType, native: bool) -> None:
    """Target and history so small that their products are zero: attention must become a mean, not nothing."""
    spec = spec_of()
    model, columns = model_of(spec, settings_of("sim", position_bias=False), native, dtype), columns_of(spec, 9)
    for table in model.item_tables:
        table.table.assign(table.table * 1e-25)
    features = tensors(columns, model)
    target, mask = model.target_items(features), model.real_steps(features, slice(8))
    found = model._search(features, target, training=True)
    history = np.concatenate([model.item_tables[0].table.numpy()[columns["item_id_pos"]],
                              model.item_tables[1].table.numpy()[columns["cat_id_pos"]]], axis=-1)[:, :8]  # fmt: skip
    for row in np.flatnonzero(mask.numpy().any(axis=1)):
        first = np.flatnonzero(mask.numpy()[row])[:3]  # of equal scores the earlier
        expected = history[row, first].mean(axis=0)
        for got in (found.average, found.attended):
            np.testing.assert_allclose(tf.cast(got[row], tf.float32), expected, rtol=0.02, atol=1e-27)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("native", [False, True])
def test_defect_10_dropout_reaches_every_classifier_of_every_model(kind: str, native: bool) -> None:
    spec, columns = spec_of(), columns_of(spec_of(), 40)
    model = model_of(spec, settings_of(kind, dropout_rate=0.5), native)
    features = tensors(columns, model)
    with dropout_seeds(1, ()):
        assert np.ptp([model.call(features, training=True).numpy() for _ in range(3)], axis=0).max() > 0
    np.testing.assert_array_equal(model.call(features, training=False), model.call(features, training=False))
    off = model_of(spec, settings_of(kind), native)
    np.testing.assert_array_equal(off.call(features, training=True), model.call(features, training=False))


@pytest.mark.parametrize("stage", ["one", "two"])
def test_defect_10_dropout_reaches_both_stages_of_sim(stage: str) -> None:
    weights = {"aux_loss_weight": 0.0, f"stage_{'two' if stage == 'one' else 'one'}_loss_weight": 0.0}
    spec = spec_of()
    model, columns = model_of(spec, settings_of("sim", dropout_rate=0.5, **weights)), columns_of(spec, 40)
    features, label = tensors(columns, model), label_of(columns)
    with dropout_seeds(1, ()):
        assert np.ptp([model.loss_terms(features, label).total.numpy() for _ in range(3)]) > 0


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_variable(variant: str, native: bool) -> None:
    kind, options, shape = VARIANTS[variant]
    spec = spec_of(**shape)
    model, columns = model_of(spec, settings_of(kind, **options), native), columns_of(spec, 40)
    # softmax does not see anything at all if there is but one score
    exempt = {id(model.search_unit.bias)} if options.get("k") == 1 else set()
    for variable, gradient in zip(model.trainable_variables, losses_and_gradients(model, columns)[1], strict=True):
        assert np.abs(gradient).max() > 1e-7 or id(variable) in exempt, variable.name


@pytest.mark.parametrize(("option", "part"), [("aux_loss_weight", "auxiliary"), ("stage_one_loss_weight", "stage_one")])
def test_a_loss_of_weight_zero_trains_nothing_of_its_own(option: str, part: str) -> None:
    spec = spec_of()
    model, columns = model_of(spec, settings_of("sim", **{option: 0.0})), columns_of(spec, 9)
    gradients = losses_and_gradients(model, columns)[1]
    own = {id(v) for v in getattr(model, part).trainable_variables}
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient.any() == (id(variable) not in own), variable.name


def test_the_selection_has_no_gradient_but_the_search_has() -> None:
    """Stage two does not train W_a and W_b; stage one does."""
    spec = spec_of()
    for weight, is_trained in ((0.0, False), (0.5, True)):
        settings = settings_of("sim", search_projection=True, stage_one_loss_weight=weight)
        model = model_of(spec, settings)
        gradients = losses_and_gradients(model, columns_of(spec, 9))[1]
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            if variable is model.w_a or variable is model.w_b:
                assert gradient.any() == is_trained


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_histories_of_nothing_but_padding(variant: str, native: bool) -> None:
    kind, options, shape = VARIANTS[variant]
    spec = spec_of(**shape)
    model, columns = model_of(spec, settings_of(kind, **options), native), columns_of(spec, 5)
    for name in columns:
        if name.endswith(("_pos", "_neg")):
            columns[name][:] = 0
    losses, gradients = losses_and_gradients(model, columns)
    assert losses.get("dien_aux_loss", 0.0) == 0.0
    assert all(np.isfinite(a).all() for a in (*losses.values(), *gradients))


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("variant", [v for v in VARIANTS if not {"reference", "unmasked rnn"} & set(v.split(", "))])
def test_padded_steps_do_not_matter_even_with_ids_in_other_features(variant: str, native: bool) -> None:
    kind, options, shape = VARIANTS[variant]
    spec = spec_of(**{**shape, "items": 2})
    model, columns = model_of(spec, settings_of(kind, **options), native), columns_of(spec, 9)
    before = losses_and_gradients(model, columns)
    columns["cat_id_pos"][columns["item_id_pos"] == 0] = 3
    after = losses_and_gradients(model, columns)
    for name, value in before[0].items():
        np.testing.assert_allclose(after[0][name], value, atol=1e-6, err_msg=name)
    for variable, one, other in zip(model.trainable_variables, before[1], after[1], strict=True):
        np.testing.assert_allclose(other, one, atol=1e-6, err_msg=variable.name)


@cache
def in_precision(variant: str, dtype: tf.DType) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    kind, options, shape = VARIANTS[variant]
    spec = spec_of(**shape)
    model = model_of(spec, settings_of(kind, **options), dtype=dtype, scale=0.15)
    return losses_and_gradients(model, columns_of(spec, 16))


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
@pytest.mark.parametrize("variant", VARIANTS)
def test_low_precision_is_finite_and_near_float32(variant: str, dtype: tf.DType) -> None:
    full, low = in_precision(variant, tf.float32), in_precision(variant, dtype)
    assert low[0]["logits"].dtype == np.float32
    for name, value in full[0].items():
        np.testing.assert_allclose(low[0][name], value, atol=0.02, err_msg=name)
    assert all(g.dtype == np.float32 for g in low[1])
    got, expected = (np.concatenate([g.ravel() for g in gradients]) for gradients in (low[1], full[1]))
    assert np.linalg.norm(got - expected) <= 0.05 * np.linalg.norm(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_model_has_zero_padding_rows_and_known_users(kind: str) -> None:
    spec = spec_of(users=("age", "country", "user_id"))
    from training.models import build_model

    model = build_model(spec, settings_of(kind))
    assert not any(t.numpy()[0].any() for t in tables_of(model))
    assert model.user == "country"  # the first that is embedded
    assert build_model(spec_of(users=("age",)), settings_of(kind)).user is None


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_users_and_items_score_as_padding(kind: str) -> None:
    """Row 0 adds nothing, so that an id never seen is neutral."""
    spec = spec_of()
    model, columns = model_of(spec, settings_of(kind)), columns_of(spec, 4)
    columns["user_id"][:] = 0
    features = tensors(columns, model)
    assert not model.users(features).numpy().any()
    assert np.isfinite(model.call(features, training=False)).all()
