"""The count of multiply-adds, by hand, and what it is made into."""

from __future__ import annotations

import pytest
import tensorflow as tf

from tests.training.models.samples import settings_of, spec_of
from training.flops import inference_flops_per_row, matrix_product_peak, ranking_flops, training_flops_per_row
from training.models import build_model
from training.settings import ModelSettings

D, H, L, S = 8, 24, 8, 4  # two item features of width 4, 6 units per width, long and short part of 12 steps
CELL = 3 * H * (D + H) + 3 * H * (H + H)  # extractor and evolver, a step
UNIT = 2 * H * 7 + 7 * 5 + 5  # a step
AUXILIARY = H * 5 + 2 * (D * 5 + 5 * 4 + 4)  # a step
SHORT = S * (CELL + UNIT)


def mlp(inputs: int) -> int:
    return inputs * 8 + 8 * 6 + 6


EXPECTED = {
    "din": (12 * 2 * D + mlp(2 * D + 4), 0),
    "dien": (SHORT + mlp(D + H + 4), S * AUXILIARY),
    "sim": (SHORT + L * 2 * D + L * 2 * D + mlp(3 * D + H + 4), S * AUXILIARY + (2 * D + 4) * 8 + 8),
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_multiply_adds_of_a_row_by_hand(kind: str) -> None:
    model = build_model(spec_of(), settings_of(kind))
    scoring, losses = EXPECTED[kind]
    assert model.multiply_adds(training=False) == scoring
    assert model.multiply_adds(training=True) == scoring + losses
    assert inference_flops_per_row(model) == 2 * scoring
    assert training_flops_per_row(model) == 3 * 2 * (scoring + losses)


def test_the_count_does_not_depend_on_how_it_is_computed() -> None:
    for kind in EXPECTED:
        models = [build_model(spec_of(), settings_of(kind), native=native) for native in (False, True)]
        assert models[0].multiply_adds(True) == models[1].multiply_adds(True)


@pytest.mark.parametrize("kind", EXPECTED)
def test_candidates_of_a_user_share_the_extractor_and_all_projections_of_its_states(kind: str) -> None:
    user = 0 if kind == "din" else S * (3 * H * (D + H) + 3 * H * H + H * 7)
    model = build_model(spec_of(), settings_of(kind))
    assert model.user_multiply_adds() == user
    assert ranking_flops(model, 5) == 2 * (user + 5 * (EXPECTED[kind][0] - user))
    assert ranking_flops(model, 1) == inference_flops_per_row(model)


def test_hard_search_has_no_first_stage() -> None:
    soft, hard = (build_model(spec_of(), settings_of("sim", search=search)) for search in ("soft", "hard"))
    assert soft.multiply_adds(False) - hard.multiply_adds(False) == L * 2 * D


def test_sim_at_its_defaults_is_about_ten_megaflop_a_row(raw_spec_of) -> None:
    from training.feature_spec import FeatureSpec

    model = build_model(FeatureSpec.from_dict(raw_spec_of()), ModelSettings())
    assert 6e6 < training_flops_per_row(model) < 12e6


def test_the_peak_is_that_of_a_plausible_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    from training import flops

    monkeypatch.setattr(flops, "PEAK_SIZE", 256)
    assert 1e8 < matrix_product_peak(tf.float32) < 1e15
