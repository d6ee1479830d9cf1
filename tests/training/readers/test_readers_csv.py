"""CSV chunks through Dataset: the seed's example, chunks side by side, and errors that name the place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.training.readers.reading import rows
from tests.training.seeds_example import SEEDS_EXAMPLE
from training.errors import DataError
from training.feature_spec import FeatureSpec
from training.input_pipeline import Dataset
from training.settings import DataSettings

TRAIN = {
    "user_gender": [1, 3, 2, 1, 0],
    "user_age": [34, 21, 5, 99, 0],
    "user_id": [2655, 1, 12, 1, 7],
    "item_id": [3, 856, 1, 1, 9],
    "label": [1, 0, 0, 1, 1],
}


@pytest.fixture
def seeds_example(tmp_path: Path) -> Path:
    (tmp_path / "feature_spec.yaml").write_text(SEEDS_EXAMPLE)
    (tmp_path / "train_data_0_0.csv").write_text("1,34\n3,21\n2,5\n")
    (tmp_path / "train_data_0_1.csv").write_text("user_gender,user_age\n1,99\n0,0\n")
    (tmp_path / "train_data_1.csv").write_text("2655,3,1\n1,856,0\n12,1,0.0\n1,1,true\n7,9,True\n")
    (tmp_path / "test_data.csv").write_text("user_id,item_id,label,user_gender,user_age\n5,6,0,1,33.5\n")
    return tmp_path


def dataset(folder: Path, mapping: str = "train", names: list[str] | None = None, **options: Any) -> Dataset:
    spec = FeatureSpec.load(folder / "feature_spec.yaml", check_files=True)
    features = [f for name, f in spec.features.items() if name != "label" and (names is None or name in names)]
    return Dataset(spec, mapping, features, "label", options.pop("batch_size", 2), **options)


def test_the_seeds_csv_example_loads(seeds_example: Path) -> None:
    data = dataset(seeds_example)
    data.check()
    assert rows(data) == TRAIN
    batch = next(data.batches())
    assert batch.features["user_age"].dtype == batch.label.dtype == tf.float32
    assert {batch.features[name].dtype for name in ("user_gender", "user_id", "item_id")} == {tf.int32}
    assert rows(dataset(seeds_example, "test"))["user_age"] == [33.5]


@pytest.mark.parametrize("settings", [DataSettings(), DataSettings(disable_cache=True)])
def test_chunks_stay_aligned_when_shuffled(seeds_example: Path, settings: DataSettings) -> None:
    shuffled = rows(dataset(seeds_example, settings=settings), shuffle_seed=3)
    names = list(TRAIN)
    assert sorted(zip(*(shuffled[n] for n in names), strict=True)) == sorted(zip(*TRAIN.values(), strict=True))


def test_only_chunks_with_needed_features_are_read(seeds_example: Path) -> None:
    (seeds_example / "train_data_0_0.csv").write_text("nonsense")
    assert rows(dataset(seeds_example, names=["user_id"]))["user_id"] == TRAIN["user_id"]


def test_chunks_of_different_lengths_are_named_with_their_rows(seeds_example: Path) -> None:
    with (seeds_example / "train_data_1.csv").open("a") as file:
        file.write("1,1,1\n" * 3)
    expected = (
        r"source_spec.train\[0\] \(train_data_0_0.csv, train_data_0_1.csv\) has 5; "
        r"source_spec.train\[1\] \(train_data_1.csv\) has 8"
    )
    for options in ({}, {"shuffle_seed": 1}):
        with pytest.raises(DataError, match=expected):
            rows(dataset(seeds_example), **options)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("train_data_1.csv", "1,2,1\n1,x,1\n", r"train_data_1.csv, row 1: feature item_id: got 'x', expected a whole"),
        ("train_data_1.csv", "1,2,1\n1,1.5,1\n", r"row 1: feature item_id: got '1.5', expected a whole number"),
        ("train_data_1.csv", "1,2,1\n1,857,1\n", r"row 1: feature item_id: got id 857, expected 0..856"),
        ("train_data_1.csv", "-1,2,1\n", r"row 0: feature user_id: got id -1, expected 0..2655"),
        ("train_data_1.csv", "1,2,1\n1,2,yes\n", r"row 1: label label: got 'yes', expected a number, true or false"),
        ("train_data_1.csv", "1,2,0.5\n", r"row 0: label label: got 0.5, expected 0 or 1"),
        ("train_data_1.csv", "1,2,nan\n", r"row 0: label label: got nan, expected 0 or 1"),
        ("train_data_1.csv", "1,2,\n", r"row 0: label label: got ''"),
        ("train_data_1.csv", "1,2\n", r"got 2 columns, expected 3: user_id, item_id, label"),
        ("train_data_1.csv", "1,2,1\n1,2\n", r"train_data_1.csv, after row 0: .*Expected 3 columns, got 2"),
        ("train_data_0_1.csv", "1,inf\n", r"train_data_0_1.csv, row 0: feature user_age: got inf, expected a finite"),
        ("train_data_0_1.csv", "1,30\n1,NaN\n", r"train_data_0_1.csv, row 1: feature user_age: got nan"),
        ("train_data_0_1.csv", "1,1e39\n", r"row 0: feature user_age: got 1e\+39, expected a finite float32"),
        ("train_data_0_1.csv", "\xff\xfe", r"train_data_0_1.csv: cannot be read as CSV"),
    ],
)
def test_bad_csv_names_file_row_and_feature(seeds_example: Path, file: str, text: str, message: str) -> None:
    (seeds_example / file).write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=message):
        rows(dataset(seeds_example))


def test_csv_files_without_rows_and_with_windows_lines(seeds_example: Path) -> None:
    (seeds_example / "train_data_0_0.csv").write_bytes(b"\xef\xbb\xbfuser_gender,user_age\r\n1,34\r\n3, 21\r\n2,5\r\n")
    assert rows(dataset(seeds_example)) == TRAIN
    (seeds_example / "test_data.csv").write_text("user_id,item_id,label,user_gender,user_age\n")
    assert rows(dataset(seeds_example, "test"))["label"] == []
    (seeds_example / "test_data.csv").write_text("")
    assert rows(dataset(seeds_example, "test"))["label"] == []


def test_a_long_csv_is_read_in_blocks(seeds_example: Path) -> None:
    ages = np.arange(90_000) % 100
    (seeds_example / "test_data.csv").write_text("".join(f"1,2,{a % 2},3,{a}\n" for a in ages))
    assert rows(dataset(seeds_example, "test", batch_size=1000))["user_age"] == ages.tolist()
