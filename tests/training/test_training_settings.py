"""Settings: defaults of the seed's table, recipes, flags, and clear refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.errors import SettingsError
from training.settings import Settings, read_recipe


def test_defaults_are_the_seeds() -> None:
    flat = Settings().to_flat()
    seed_table = {
        "model_type": "sim", "embedding_dim": 16, "stage_one_mlp_dims": "200", "stage_two_mlp_dims": "200,80",
        "aux_mlp_dims": "100,50", "feature_spec": "feature_spec.yaml", "optimizer": "adam", "lr": 0.01, "epochs": 3,
        "global_batch_size": 131072, "dropout_rate": -1.0, "amp": False, "xla": False, "drop_remainder": False,
        "long_seq_length": 90, "prebatch_train_size": 0, "prebatch_test_size": 0, "results_dir": "/tmp/sim",
        "log_filename": "log.json", "save_checkpoint_path": "", "load_checkpoint_path": "", "seed": -1,
        "inter_op_parallelism": 0, "intra_op_parallelism": 0,
    }  # fmt: skip
    assert {name: flat[name] for name in seed_table} == seed_table


def test_flat_form_round_trips() -> None:
    settings = Settings.from_flat({"stage_two_mlp_dims": "64,32", "lr": 0.5, "amp": True})
    assert settings.model.stage_two_mlp_dims == (64, 32)
    assert Settings.from_flat(settings.to_flat()) == settings


def test_flags_win_over_the_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("lr: 0.1\nepochs: 7\n")
    settings = Settings.load(recipe, {"lr": 0.2})
    assert (settings.training.lr, settings.training.epochs) == (0.2, 7)


def test_unknown_keys_list_the_valid_ones() -> None:
    with pytest.raises(SettingsError, match=r"unknown parameters batch, learning_rate.*valid are: .*global_batch_size"):
        Settings.from_flat({"learning_rate": 0.1, "batch": 3})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("epochs", 0, "at least 1"),
        ("epochs", "many", "expected int"),
        ("epochs", 1.5, "expected int"),
        ("amp", "yes", "expected bool"),
        ("model_type", "din2", "one of sim"),
        ("aux_mlp_dims", "100,x", "comma-separated"),
        ("aux_mlp_dims", "0", "comma-separated"),
        ("lr", -1, "at least 0"),
        ("lr", "nan", "expected float"),
        ("epochs", float("inf"), "expected int"),
        ("dropout_rate", 1.0, "less than 1.0"),
    ],
)
def test_wrong_values_name_parameter_and_expectation(name: str, value: object, expected: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}: .*{expected}"):
        Settings.from_flat({name: value})


@pytest.mark.parametrize("text", ["- a", "a: [", ""])
def test_a_recipe_must_be_a_mapping(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"recipe\.yaml"):
        read_recipe(path)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such recipe"):
        read_recipe(tmp_path / "none.yaml")


def test_every_shipped_recipe_is_valid() -> None:
    recipes = list((Path(__file__).parents[2] / "training" / "recipes").glob("*.yaml"))
    assert recipes
    for recipe in recipes:
        Settings.load(recipe)
        assert "Command:" in recipe.read_text()


def test_an_unknown_key_without_a_value_is_unknown_too() -> None:
    with pytest.raises(SettingsError, match="unknown parameter leraning_rate"):
        Settings.from_flat({"leraning_rate": None})


def test_an_empty_line_of_a_recipe_keeps_the_default(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("save_checkpoint_path:\nepochs: 2\n")
    assert Settings.load(tmp_path / "recipe.yaml").results.save_checkpoint_path == ""
