"""TFRecord chunks through Dataset, and chunks of all types side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tests.training.readers.reading import HISTORY, rows, spec_of, write_parquet
from training.errors import DataError, SettingsError
from training.feature_spec import FeatureSpec
from training.input_pipeline import Dataset
from training.settings import DataSettings


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
