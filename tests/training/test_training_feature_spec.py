"""FeatureSpec: what is read, what is refused, and that every mistake is reported with its place."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.training.seeds_example import SEEDS_EXAMPLE
from training.feature_spec import FeatureSpec, FeatureSpecError


def write(folder: Path, text: str) -> Path:
    path = folder / "feature_spec.yaml"
    path.write_text(text)
    return path


def problems_of(folder: Path, raw: object) -> list[str]:
    with pytest.raises(FeatureSpecError) as caught:
        FeatureSpec.load(write(folder, raw if isinstance(raw, str) else yaml.safe_dump(raw, sort_keys=False)))
    return caught.value.problems


@pytest.fixture
def raw() -> dict:
    return copy.deepcopy(yaml.safe_load(SEEDS_EXAMPLE))


def test_the_seeds_example_with_torch_dtypes_two_chunks_and_three_files(tmp_path: Path) -> None:
    spec = FeatureSpec.load(write(tmp_path, SEEDS_EXAMPLE))
    assert spec.features["user_id"].dtype == np.int32
    assert spec.features["user_id"].cardinality == 2655
    assert spec.features["user_age"].cardinality is None
    assert [len(c.files) for c in spec.mapping("train")] == [2, 1]
    assert spec.mapping("train")[0].files[1] == tmp_path.resolve() / "train_data_0_1.csv"
    assert [f.name for f in spec.channel("categorical_user_inputs")] == ["user_gender", "user_id"]


def test_both_dtype_spellings_mean_the_same(tmp_path: Path) -> None:
    plain = FeatureSpec.load(write(tmp_path, SEEDS_EXAMPLE.replace("torch.", "")))
    assert plain.features == FeatureSpec.load(write(tmp_path, SEEDS_EXAMPLE)).features


def test_five_mistakes_are_five_problems_with_lines(tmp_path: Path) -> None:
    mistakes = {
        "torch.int8\n    cardinality: 3 #M,F,Other": "int7\n    cardinality: 3",
        "cardinality: 2655": "cardinality: -1",
        "- train_data_1.csv": "- ../secret.csv",
        "test:\n    - type: csv": "test:\n    - type: xls",
        "item_inputs:\n    - item_id": "item_inputs:\n    - item",
    }
    text = SEEDS_EXAMPLE
    for right, wrong in mistakes.items():
        text = text.replace(right, wrong)
    found = problems_of(tmp_path, text)
    assert len(found) == 5
    expected = [
        ("feature_spec.user_gender.dtype (line 3)", "int7"),
        ("feature_spec.user_id.cardinality (line 9)", "-1"),
        ("source_spec.train[1].files[0] (line 31)", "leaves the folder"),
        ("source_spec.test[0].type (line 33)", "xls"),
        ("channel_spec.categorical_item_inputs[0] (line 51)", "'item'"),
    ]
    for (place, detail), problem in zip(expected, found, strict=True):
        assert problem.startswith(place + ":"), problem
        assert detail in problem


@pytest.mark.parametrize("file", ["/etc/passwd", "../x.csv", "a/../../x.csv"])
def test_files_may_not_leave_the_folder(tmp_path: Path, raw: dict, file: str) -> None:
    raw["source_spec"]["test"][0]["files"] = [file]
    assert "leaves the folder" in problems_of(tmp_path, raw)[0]


def test_a_link_out_of_the_folder_is_leaving_it(tmp_path: Path, raw: dict) -> None:
    (tmp_path / "outside.csv").write_text("")
    inside = tmp_path / "spec"
    inside.mkdir()
    (inside / "test_data.csv").symlink_to(tmp_path / "outside.csv")
    assert "leaves the folder" in problems_of(inside, raw)[0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda r: r.pop("channel_spec"), "channel_spec: this section is missing"),
        (lambda r: r.update(extra={}), "unknown section"),
        (lambda r: r.update(source_spec=[]), "expected a non-empty mapping"),
        (lambda r: r["feature_spec"]["label"].pop("dtype"), "feature_spec.label.dtype"),
        (lambda r: r["feature_spec"].update(label=None), "expected a mapping with dtype"),
        (lambda r: r["feature_spec"]["user_id"].update(dimensions=[0]), "user_id.dimensions"),
        (lambda r: r["feature_spec"]["user_id"].update(cardinality=True), "got True"),
        (lambda r: r["feature_spec"]["user_gender"].update(cardinality=128), "int8 reaches 127, got 128"),
        (lambda r: r["feature_spec"]["label"].update(cardinality=2), "ids need an integer dtype, got float32"),
        (lambda r: r["source_spec"]["train"][0].update(files=[]), "train[0].files"),
        (lambda r: r["source_spec"]["train"][0].update(rows=3), "unknown key"),
        (lambda r: r["source_spec"]["train"][1]["features"].append("user_age"), "already in chunk [0]"),
        (lambda r: r["channel_spec"]["label_ch"].append("label"), "listed twice"),
        (lambda r: r["source_spec"].update(train="train.csv"), "expected a list of chunks"),
        (lambda r: r.update(metadata=[1]), "metadata"),
    ],
)
def test_each_mistake_alone(tmp_path: Path, raw: dict, change, expected: str) -> None:
    change(raw)
    found = problems_of(tmp_path, raw)
    assert len(found) == 1, found
    assert expected in found[0]


@pytest.mark.parametrize("text", ["", "- a\n", "feature_spec: [", "a: !!python/object:os.system {}"])
def test_what_is_no_specification_at_all(tmp_path: Path, text: str) -> None:
    assert problems_of(tmp_path, text)


def test_missing_data_files_are_reported_when_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, SEEDS_EXAMPLE)
    FeatureSpec.load(path)
    with pytest.raises(FeatureSpecError) as caught:
        FeatureSpec.load(path, check_files=True)
    assert len(caught.value.problems) == 4
    assert "train_data_0_1.csv" in caught.value.problems[1]


def test_a_missing_file_is_reported_beside_other_mistakes(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        SEEDS_EXAMPLE.replace("torch.int32", "int33").replace("label_ch:\n    - label", "label_ch:\n    - labels"),
    )
    for name in ("train_data_0_0.csv", "train_data_0_1.csv", "test_data.csv"):
        (tmp_path / name).touch()
    with pytest.raises(FeatureSpecError) as caught:
        FeatureSpec.load(path, check_files=True)
    assert len(caught.value.problems) == 4
    assert "train_data_1.csv" in caught.value.problems[3]


def test_a_key_that_stands_twice_is_a_mistake(tmp_path: Path) -> None:
    found = problems_of(tmp_path, SEEDS_EXAMPLE.replace("cardinality: 2655", "cardinality: 2655\n    cardinality: 7"))
    assert found == ["feature_spec.user_id.cardinality (line 10): this key is already in line 9; remove one"]


def test_saving_and_loading_keeps_everything(tmp_path: Path, raw: dict) -> None:
    raw["feature_spec"]["user_id"]["source"] = "crm"
    raw["metadata"] = {"rows": {"train": 3}}
    spec = FeatureSpec.load(write(tmp_path, yaml.safe_dump(raw)))
    spec.save(tmp_path / "copy.yaml")
    assert FeatureSpec.load(tmp_path / "copy.yaml") == spec
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy.yaml", "feature_spec.yaml"]


def test_unknown_channel_and_mapping_name_those_that_exist(tmp_path: Path) -> None:
    spec = FeatureSpec.load(write(tmp_path, SEEDS_EXAMPLE))
    with pytest.raises(FeatureSpecError, match="numeric_inputs"):
        spec.channel("nothing")
    with pytest.raises(FeatureSpecError, match="test, train"):
        spec.mapping("validation")
