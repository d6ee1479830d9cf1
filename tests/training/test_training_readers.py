"""Chunks of every type through Dataset: the seed's example, chunks side by side, and errors that name the place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from training.errors import DataError, SettingsError
from training.feature_spec import FeatureSpec
from training.input_pipeline import Dataset
from training.settings import DataSettings

SEEDS_EXAMPLE = """
feature_spec:
  user_gender:
    dtype: torch.int8
    cardinality: 3 #M,F,Other
  user_age: #treated as numeric value
    dtype: torch.int8
  user_id:
    dtype: torch.int32
    cardinality: 2655
  item_id:
    dtype: torch.int32
    cardinality: 856
  label:
    dtype: torch.float32

source_spec:
  train:
    - type: csv
      features:
        - user_gender
        - user_age
      files:
        - train_data_0_0.csv
        - train_data_0_1.csv
    - type: csv
      features:
        - user_id
        - item_id
        - label
      files:
        - train_data_1.csv
  test:
    - type: csv
      features:
        - user_id
        - item_id
        - label
        - user_gender
        - user_age

      files:
        - test_data.csv

channel_spec:
  numeric_inputs:
    - user_age
  categorical_user_inputs:
    - user_gender
    - user_id
  categorical_item_inputs:
    - item_id
  label_ch:
    - label
"""
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


def rows(data: Dataset, **options: Any) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in ["label", *(f.name for f in data.features)]}
    for batch in data.batches(**options):
        columns["label"] += batch.label.numpy().tolist()
        for name, values in batch.features.items():
            columns[name] += values.numpy().tolist()
    return columns


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


# parquet


def spec_of(chunks: list[dict[str, Any]], **features: Mapping[str, Any]) -> dict[str, Any]:
    described = {"label": {"dtype": "float32"}, "item": {"dtype": "int64", "cardinality": 300}, **features}
    return {
        "feature_spec": described,
        "source_spec": {"train": chunks},
        "channel_spec": {"label": ["label"]},
        "metadata": {},
    }


HISTORY = {"dtype": "int64", "cardinality": 300, "dimensions": [3]}
PRICES = {"dtype": "float32", "dimensions": [3]}
LISTS = [[], [1], [1, 2, 300], [1, 2, 3, 4, 5], [7, 8]]


def write_parquet(folder: Path, name: str = "a.parquet", **columns: Any) -> Path:
    columns = {"label": [0.0, 1.0, 1.0, 0.0, 1.0], "item": [1, 2, 300, 4, 5], **columns}
    pq.write_table(pa.table(columns), folder / name)
    return folder / name


def parquet_dataset(folder: Path, *files: str, features: Mapping[str, Any], batch_size: int = 2) -> Dataset:
    chunk = {"type": "parquet", "features": ["label", "item", *features], "files": list(files) or ["a.parquet"]}
    spec = FeatureSpec.from_dict(spec_of([chunk], **features), folder)
    return Dataset(spec, "train", [f for n, f in spec.features.items() if n != "label"], "label", batch_size)


@pytest.mark.parametrize("kind", [pa.list_(pa.int16()), pa.large_list(pa.int64()), pa.list_(pa.uint32())])
def test_parquet_lists_are_padded_on_the_left_and_keep_the_newest(tmp_path: Path, kind: Any) -> None:
    prices = pa.array([[float(v) for v in row] for row in LISTS], pa.list_(pa.float64()))
    write_parquet(tmp_path, extra=["not needed"] * 5, history=pa.array(LISTS, kind), price=prices)
    got = rows(parquet_dataset(tmp_path, features={"history": HISTORY, "price": PRICES}))
    padded = [[0, 0, 0], [0, 0, 1], [1, 2, 300], [3, 4, 5], [0, 7, 8]]
    assert got == {"label": [0, 1, 1, 0, 1], "item": [1, 2, 300, 4, 5], "history": padded, "price": padded}


def test_parquet_fixed_size_lists_and_several_files(tmp_path: Path) -> None:
    fixed = pa.array([[1, 2, 3]] * 5, pa.list_(pa.int32(), 3))
    for number in range(6):
        write_parquet(tmp_path, f"{number}.parquet", history=fixed, item=[number + 1] * 5)
    names = [f"{number}.parquet" for number in range(6)]
    data = parquet_dataset(tmp_path, *names, features={"history": HISTORY}, batch_size=7)
    assert rows(data)["item"] == [n + 1 for n in range(6) for _ in range(5)]
    shuffled = rows(data, shuffle_seed=1)
    assert sorted(shuffled["item"]) == rows(data)["item"] != shuffled["item"]
    assert shuffled["history"] == [[1, 2, 3]] * 30


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"item": [1, 2, 301, 4, 5]}, r"a.parquet, row 2: feature item: got id 301, expected 0..300"),
        ({"item": [1, 2, None, 4, 5]}, r"a.parquet, row 2: feature item: got null"),
        ({"label": [0.0, 1.0, 1.0, float("nan"), 1.0]}, r"a.parquet, row 3: label label: got nan, expected 0 or 1"),
        ({"history": [[1], [2], [3], [4, 301], [5]]}, r"a.parquet, row 3: feature history: got id 301"),
        ({"history": [[1], [2], None, [4], [5]]}, r"a.parquet, row 2: feature history: got null"),
        ({"history": [[1], [2, None], [3], [4], [5]]}, r"a.parquet, row 1: feature history: got null"),
        ({"price": [[0.0], [1.0], [float("inf")], [], []]}, r"a.parquet, row 2: feature price: got inf, expected a"),
        ({"history": [1, 2, 3, 4, 5]}, r"a.parquet: column history: got type int64, expected a list, each value an i"),
        ({"item": ["1", "2", "3", "4", "5"]}, r"a.parquet: column item: got type string, expected an integer"),
        ({"item": [1.0, 2.0, 3.0, 4.0, 5.0]}, r"a.parquet: column item: got type double, expected an integer"),
    ],
)
def test_bad_parquet_names_file_row_and_feature(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    write_parquet(tmp_path, **{"history": LISTS, "price": [[1.0]] * 5, **columns})
    with pytest.raises(DataError, match=message):
        rows(parquet_dataset(tmp_path, features={"history": HISTORY, "price": PRICES}))


def test_a_missing_parquet_column_is_named_before_training(tmp_path: Path) -> None:
    write_parquet(tmp_path)
    with pytest.raises(DataError, match=r"a.parquet: column history is missing; the file has: label, item"):
        parquet_dataset(tmp_path, features={"history": HISTORY}).check()


def test_damaged_parquet_is_named(tmp_path: Path) -> None:
    file = write_parquet(tmp_path, history=LISTS)
    content = bytearray(file.read_bytes())
    file.write_bytes(content[:-5])
    data = parquet_dataset(tmp_path, features={"history": HISTORY})
    with pytest.raises(DataError, match=r"a.parquet: cannot be read as Parquet"):
        data.check()
    content[4:60] = bytes(56)
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"a.parquet, after row 0: damaged"):
        rows(data)


def test_histories_of_two_dimensions_belong_in_tfrecord(tmp_path: Path) -> None:
    write_parquet(tmp_path, history=LISTS)
    with pytest.raises(DataError, match=r"column history: got dimensions \[3, 2\], expected one"):
        parquet_dataset(tmp_path, features={"history": {**HISTORY, "dimensions": [3, 2]}}).check()


# chunks of several types, and what the specification says


def write_example(path: Path, rows_of: list[dict[str, list[Any]]]) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows_of:
            feature = {
                name: tf.train.Feature(float_list=tf.train.FloatList(value=values))
                if isinstance(values[0], float)
                else tf.train.Feature(int64_list=tf.train.Int64List(value=values))
                for name, values in row.items()
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def mixed(folder: Path) -> Dataset:
    """label and item in Parquet, history prebatched in TFRecord, age in CSV: five rows."""
    write_parquet(folder)
    write_example(folder / "h.tfrecord", [{"history": [1] * 3 + [2] * 3, "n": [9]}, {"history": [3] * 3 + [4] * 3}])
    write_example(folder / "h.remainder.tfrecord", [{"history": [5] * 3}])
    (folder / "age.csv").write_text("10\n20\n30\n40\n50\n")
    chunks = [
        {"type": "parquet", "features": ["label", "item"], "files": ["a.parquet"]},
        {"type": "tfrecord", "features": ["history"], "files": ["h.tfrecord", "h.remainder.tfrecord"]},
        {"type": "csv", "features": ["age"], "files": ["age.csv"]},
    ]
    spec = FeatureSpec.from_dict(spec_of(chunks, history=HISTORY, age={"dtype": "int64"}), folder)
    return Dataset(spec, "train", [f for n, f in spec.features.items() if n != "label"], "label", 2)


def test_defect_20_chunks_of_all_types_side_by_side(tmp_path: Path) -> None:
    data = mixed(tmp_path)
    data.check()
    assert rows(data) == {
        "label": [0, 1, 1, 0, 1],
        "item": [1, 2, 300, 4, 5],
        "history": [[n] * 3 for n in range(1, 6)],
        "age": [10, 20, 30, 40, 50],
    }


def test_defect_20_a_chunk_of_another_type_than_it_says_is_an_error(tmp_path: Path) -> None:
    data = mixed(tmp_path)
    (tmp_path / "h.tfrecord").write_bytes((tmp_path / "a.parquet").read_bytes())
    with pytest.raises(DataError, match=r"h.tfrecord: not readable as tfrecord"):
        data.check()


def test_defect_20_a_history_in_csv_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2\n")
    chunk = {"type": "csv", "features": ["label", "history"], "files": ["a.csv"]}
    spec = FeatureSpec.from_dict(spec_of([chunk], history=HISTORY), tmp_path)
    with pytest.raises(DataError, match=r"a.csv: feature history has dimensions \[3\], but a CSV cell holds one value"):
        Dataset(spec, "train", [spec.features["history"]], "label", 2).check()


def test_prebatch_sizes_are_of_tfrecord_chunks(tmp_path: Path) -> None:
    data = mixed(tmp_path)
    Dataset(data.spec, "train", data.features, "label", 2, DataSettings(prebatch_train_size=2)).check()
    with pytest.raises(SettingsError, match=r"prebatch_train_size: got 4, but the records of .*h.tfrecord have 2"):
        Dataset(data.spec, "train", data.features, "label", 2, DataSettings(prebatch_train_size=4)).check()
    only = [data.spec.features["age"]]
    with pytest.raises(SettingsError, match="train has no tfrecord chunk"):
        Dataset(data.spec, "train", only, "label", 2, DataSettings(prebatch_train_size=4)).check()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_in_tfrecord_may_be_integers_or_floats_but_finite(tmp_path: Path, value: float) -> None:
    chunk = {"type": "tfrecord", "features": ["label", "age", "price"], "files": ["a.tfrecord"]}
    features = {"age": {"dtype": "int8"}, "price": {"dtype": "float64"}}
    spec = FeatureSpec.from_dict(spec_of([chunk], **features), tmp_path)
    data = Dataset(spec, "train", [spec.features["age"], spec.features["price"]], "label", 2)
    good = [{"label": [1], "age": [30], "price": [0.5]}, {"label": [0], "age": [31], "price": [1.5]}]
    write_example(tmp_path / "a.tfrecord", good)
    assert rows(data) == {"label": [1, 0], "age": [30, 31], "price": [0.5, 1.5]}
    write_example(tmp_path / "a.tfrecord", [*good, {"label": [0], "age": [31], "price": [value]}])
    with pytest.raises(DataError, match=rf"a.tfrecord, row 2: feature price: got {value}, expected a finite"):
        rows(Dataset(spec, "train", data.features, "label", 2))


def test_a_later_record_that_does_not_fit_is_named(tmp_path: Path) -> None:
    chunk = {"type": "tfrecord", "features": ["label", "history"], "files": ["a.tfrecord"]}
    spec = FeatureSpec.from_dict(spec_of([chunk], history=HISTORY), tmp_path)
    data = Dataset(spec, "train", [spec.features["history"]], "label", 2)
    good = {"label": [1], "history": [1, 2, 3]}
    for bad, message in (
        ({"label": [1], "history": [1, 2]}, r"row 2: .*feature history: 2 values make no rows of 3"),
        ({"label": [1]}, r"row 2: .*feature history: expected int64_list, got nothing; the record has: label"),
        ({"label": [1], "history": [0.5] * 3}, r"row 2: .*feature history: expected int64_list, got float_list"),
        ({"label": [1, 0], "history": [1, 2, 3]}, r"row 2: .*features differ in rows per record: label 2, history 1"),
    ):
        write_example(tmp_path / "a.tfrecord", [good, good, bad, good])
        with pytest.raises(DataError, match=rf"(?s)a.tfrecord, {message}"):
            rows(Dataset(spec, "train", data.features, "label", 2))
