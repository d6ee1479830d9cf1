"""Options that a model ignores are named, and no others: the list is compared with what the models do."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from recserve import cli
from tests.training.models.samples import columns_of, label_of, model_of, spec_of, tensors
from training.layers.dropout import dropout_seeds
from training.settings import MODEL_TYPES, ModelSettings, Settings
from training.settings_checks import unused_options

RECIPES = Path(__file__).parents[3] / "training" / "recipes"
# another value than the default of every option
CHANGES: dict[str, Any] = {
    "embedding_dim": 8, "stage_one_mlp_dims": (9,), "stage_two_mlp_dims": (9,), "aux_mlp_dims": (9,),
    "long_seq_length": 7, "k": 1, "dropout_rate": 0.5, "activation_unit_dims": (9, 9), "attention_heads": 3,
    "history_attention": "bilinear", "position_bias": False, "search": "hard", "search_projection": True,
    "time_intervals": True, "augru": "reference", "masked_rnn": False, "aux_loss_weight": 0.3,
    "stage_one_loss_weight": 0.3, "stage_two_loss_weight": 0.3,
}  # fmt: skip
CASES = {
    "sim": ("sim", {}),
    "din": ("din", {}),
    "dien": ("dien", {}),
    "sim, hard search": ("sim", {"search": "hard"}),
    "sim, multi-head": ("sim", {"history_attention": "multi_head"}),
    "din, multi-head": ("din", {"history_attention": "multi_head"}),
    "din, activation unit": ("din", {"history_attention": "activation_unit"}),
}


def outcome(settings: ModelSettings) -> list[np.ndarray]:
    """All that training shows: the weights, drawn from one seed, the losses, the scores in training and in serving."""
    spec = spec_of(times=True)
    columns = columns_of(spec, 40)
    tf.keras.utils.set_random_seed(5)
    model = model_of(spec, settings)
    with dropout_seeds(1, ()):
        loss = model.loss_terms(tensors(columns, model), label_of(columns))
    served = model.call(tensors(columns, model), training=False)
    return [np.array(a) for a in (*model.trainable_variables, *loss.terms.values(), loss.logits, served)]


def is_same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_an_option_is_named_exactly_if_it_changes_nothing(case: str) -> None:
    kind, given = CASES[case]
    plain = ModelSettings(model_type=kind, embedding_dim=4, stage_two_mlp_dims=(8,), **given)
    short = dataclasses.replace(plain, long_seq_length=8)  # the default is longer than these histories
    base = outcome(short)
    for name, value in CHANGES.items():
        if name in given or (name == "time_intervals" and case in ("sim", "sim, hard search")):
            continue  # time_intervals: the model itself refuses them for dot attention
        has_effect = not is_same(base, outcome(dataclasses.replace(short, **{name: value})))
        assert bool(unused_options(dataclasses.replace(plain, **{name: value}))) != has_effect, name


def test_every_option_is_tried() -> None:
    names = {f.name for f in dataclasses.fields(ModelSettings)}
    assert names == {*CHANGES, "model_type", "reference_compatible"}


def test_the_message_says_who_uses_it_and_all_options_are_named() -> None:
    settings = ModelSettings(model_type="din", aux_mlp_dims=(50, 20), masked_rnn=False, attention_heads=8)
    assert unused_options(settings) == [
        "aux_mlp_dims: got 50,20 with model_type din, which does not use it; model_type sim and dien do",
        "attention_heads: got 8 with model_type din and history_attention dot, which does not use it; "
        "history_attention multi_head does",
        "masked_rnn: got false with model_type din, which does not use it; model_type sim and dien do",
    ]


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_default_values_are_not_named(kind: str) -> None:
    everything = Settings.from_flat({**Settings().to_flat(), "model_type": kind})
    assert not unused_options(everything.model)
    assert not unused_options(ModelSettings(model_type=kind, reference_compatible=True))


def test_what_reference_compatible_overrides_is_not_named() -> None:
    options = {"history_attention": "multi_head", "attention_heads": 8, "search": "hard", "stage_one_mlp_dims": (9,)}
    assert not unused_options(ModelSettings(reference_compatible=True, **options))


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_have_no_option_without_effect(recipe: Path) -> None:
    assert not unused_options(Settings.load(recipe).model)


def test_the_command_warns_and_goes_on(tmp_path: Path) -> None:
    recipe = tmp_path / "dien.yaml"
    recipe.write_text("model_type: dien\nsearch: hard\n")
    result = CliRunner().invoke(cli, ["train", "--recipe", str(recipe), "--dataset_dir", str(tmp_path / "none")])
    assert "warning: search: got hard with model_type dien, which does not use it" in result.output
    assert "none" in str(result.exception)
