"""Specifications and settings that do not fit a model are refused, with every reason at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.training.models.samples import HISTORY, KINDS, raw_spec_of, settings_of, spec_of
from training.errors import SettingsError
from training.feature_spec import FeatureSpec, FeatureSpecError
from training.models import build_model


def rename_user(raw: dict[str, Any], new: str) -> None:
    raw["feature_spec"][new] = raw["feature_spec"].pop("user_id")
    raw["channel_spec"]["user_features"] = [new]
    for mapping in raw["source_spec"].values():
        mapping[0]["features"] = [new if f == "user_id" else f for f in mapping[0]["features"]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda r: r["channel_spec"]["label"].append("user_id"), "channel_spec.label: expected one feature, got 2"),
        (lambda r: r["feature_spec"]["cat_id_pos"].update(cardinality=9), "shares a table, got 9"),
        (lambda r: r["channel_spec"]["positive_history"].pop(), "expected 2 features, as in target_item_features"),
        (lambda r: r["channel_spec"].pop("target_item_features"), "no channel 'target_item_features'"),
        (lambda r: r["channel_spec"].update(target_item_features=[]), "target_item_features: expected at least one"),
        (lambda r: r["channel_spec"].update(positive_history=[]), "positive_history: expected at least one feature"),
        (lambda r: r["channel_spec"].update(label=[]), "channel_spec.label: expected one feature, got 0"),
        (lambda r: r["channel_spec"].pop("positive_history"), "no channel 'positive_history'"),
        (lambda r: r["feature_spec"]["item_id_trgt"].pop("cardinality"), r"Numeric features belong to user_features"),
        (lambda r: r["feature_spec"]["user_id"].update(dimensions=[1]), r"user_id.dimensions: expected none"),
        (lambda r: r["feature_spec"]["item_id_pos"].update(dimensions=[7]), "one and the same dimensions"),
        (lambda r: r["feature_spec"]["item_id_pos"].update(dimensions=[12, 2]), "one and the same dimensions"),
        (lambda r: rename_user(r, "user-id"), "user-id: cannot be the name of a served input"),
        (lambda r: rename_user(r, "1st_user"), "not starting with a digit"),
        (lambda r: rename_user(r, "self"), "self: cannot be the name of a served input"),
    ],
)
def test_specifications_that_do_not_fit_are_refused(kind: str, change: Callable[[dict], Any], expected: str) -> None:
    raw = raw_spec_of()
    change(raw)
    with pytest.raises(FeatureSpecError, match=expected):
        build_model(FeatureSpec.from_dict(raw), settings_of(kind))


@pytest.mark.parametrize("kind", ["sim", "dien"])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda r: r["channel_spec"].pop("negative_history"), "no channel 'negative_history'"),
        (lambda r: r["channel_spec"]["negative_history"].pop(), "expected 2 features, as in target_item_features"),
        (lambda r: r["feature_spec"]["cat_id_neg"].update(cardinality=9), "shares a table, got 9"),
        (lambda r: r["feature_spec"]["cat_id_neg"].update(dimensions=[7]), "one and the same dimensions"),
    ],
)
def test_negatives_are_checked_where_they_are_needed(kind: str, change: Callable[[dict], Any], expected: str) -> None:
    raw = raw_spec_of()
    change(raw)
    with pytest.raises(FeatureSpecError, match=expected):
        build_model(FeatureSpec.from_dict(raw), settings_of(kind))
    build_model(FeatureSpec.from_dict(raw), settings_of("din"))


@pytest.mark.parametrize("kind", KINDS)
def test_all_mistakes_are_reported_at_once(kind: str) -> None:
    raw = raw_spec_of()
    del raw["channel_spec"]["label"]
    raw["feature_spec"]["user_id"]["dimensions"] = [1]
    raw["feature_spec"]["cat_id_pos"]["cardinality"] = 9
    raw["feature_spec"]["item_id_trgt"]["dimensions"] = [3]
    with pytest.raises(FeatureSpecError) as caught:
        build_model(FeatureSpec.from_dict(raw), settings_of(kind))
    assert len(caught.value.problems) == 4


def test_time_intervals_need_both_channels_and_say_how_to_get_them() -> None:
    settings = settings_of("sim", history_attention="multi_head", time_intervals=True)
    with pytest.raises(FeatureSpecError, match="--timestamps") as caught:
        build_model(spec_of(times=False), settings)
    assert len(caught.value.problems) == 2
    model = build_model(spec_of(times=True), settings)
    assert [f.name for f in model.served][-2:] == ["time_trgt", "time_pos"]


@pytest.mark.parametrize("attention", ["dot", "activation_unit"])
def test_time_intervals_need_an_attention_with_wider_queries(attention: str) -> None:
    with pytest.raises(SettingsError, match=f"history_attention: got {attention} with time_intervals"):
        build_model(spec_of(times=True), settings_of("sim", history_attention=attention, time_intervals=True))


@pytest.mark.parametrize("kind", ["sim", "dien"])
@pytest.mark.parametrize("long", [HISTORY - 1, HISTORY, 90])
def test_a_history_without_a_short_part_is_refused(kind: str, long: int) -> None:
    with pytest.raises(SettingsError, match=rf"long_seq_length: got {long} of .* 12 steps; expected at most 10"):
        build_model(spec_of(), settings_of(kind, long_seq_length=long))
    build_model(spec_of(), settings_of("din", long_seq_length=long))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_served_and_what_is_trained(kind: str) -> None:
    model = build_model(spec_of(users=("user_id", "age")), settings_of(kind))
    served = ["user_id", "age", "item_id_trgt", "cat_id_trgt", "item_id_pos", "cat_id_pos"]
    assert [f.name for f in model.served] == served
    negatives = [] if kind == "din" else ["item_id_neg", "cat_id_neg"]
    assert [f.name for f in model.trained] == [*served, *negatives]
    assert (model.label, model.user) == ("label", "user_id")


def test_reference_compatible_overrides_the_options_of_wiring() -> None:
    options = {"history_attention": "multi_head", "search": "hard", "search_projection": True, "time_intervals": True}
    resolved = settings_of("sim", reference_compatible=True, k=7, **options).resolved()
    assert (resolved.history_attention, resolved.search, resolved.search_projection) == ("dot", "soft", False)
    assert (resolved.time_intervals, resolved.position_bias, resolved.masked_rnn) == (False, False, False)
    assert (resolved.augru, resolved.k) == ("reference", 7)
    build_model(spec_of(times=False), settings_of("sim", reference_compatible=True, **options))
