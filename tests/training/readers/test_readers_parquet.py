"""Parquet chunks through Dataset: lists of every kind, and errors that name the place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.training.readers.reading import HISTORY, rows, spec_of, write_parquet
from training.errors import DataError
from training.feature_spec import FeatureSpec
from training.input_pipeline import Dataset

PRICES = {"dtype": "float32", "dimensions": [3]}
LISTS = [[], [1], [1, 2, 300], [1, 2, 3, 4, 5], [7, 8]]


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
