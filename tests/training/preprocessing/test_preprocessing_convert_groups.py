"""Parquet -> TFRecord: a validation split, groups of rows, and times."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.preprocessing.byo import Rows, T, expected, flattened
from training.errors import DataError
from training.preprocessing.tfrecord_dataset import ConvertOptions, convert_parquet

TIMES = {"target": "seconds_now", "history": "seconds_seen"}


def with_times(rows: Rows) -> Rows:
    times = [[1_400_000_000 + i for i in range(len(history))] for history in rows["sku_seen"]]
    return {**rows, "seconds_now": [1_500_000_000 + i for i in range(len(times))], "seconds_seen": times}


def add_metadata(source: Path, **entries: Any) -> None:
    path = source / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_a_validation_split_is_converted_like_test(
    tmp_path: Path, write_byo: Callable, byo_rows: Callable, read_records: Callable
) -> None:
    source = write_byo(tmp_path / "parquet")
    shutil.copytree(source / "test", source / "validation")
    options = {"number_of_user_features": 2, "max_seq_len": T, "prebatch_test_size": 4}
    result = convert_parquet(ConvertOptions(source, tmp_path / "out", **options))
    assert result.spec.metadata["rows"] == {"train": 23, "validation": 10, "test": 10}
    files = [f.name for f in result.spec.mapping("validation")[0].files]
    assert files == ["validation.tfrecord", "validation.remainder.tfrecord"]
    expected_rows = expected(byo_rows(10, 2))
    assert read_records(tmp_path / "out" / files[0]) == [flattened(expected_rows[i : i + 4]) for i in (0, 4)]
    assert any(line.split() == ["validation", "rows", "10"] for line in result.describe().splitlines())


def test_groups_and_times_reach_the_specification(
    tmp_path: Path, write_byo: Callable, byo_rows: Callable, read_records: Callable
) -> None:
    train, test = with_times(byo_rows(23, 1)), with_times(byo_rows(10, 2))
    source = write_byo(tmp_path / "parquet", train, test)
    add_metadata(source, rows_per_group=2, timestamps=TIMES)
    spec = convert_parquet(ConvertOptions(source, tmp_path / "out", 2, T)).spec
    assert spec.metadata["rows_per_group"] == 2
    assert spec.channels["target_timestamp"] == ("seconds_now",)
    assert spec.channels["history_timestamps"] == ("seconds_seen",)
    assert spec.channels["negative_history"] == ("sku_unseen", "shelf_unseen", "colour_unseen")
    written = spec.to_dict()["feature_spec"]
    assert written["seconds_now"] == {"dtype": "int64"}
    assert written["seconds_seen"] == {"dtype": "int64", "dimensions": [T]}
    assert read_records(tmp_path / "out" / "train.tfrecord") == expected(train)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"rows_per_group": 0}, "rows_per_group: got 0, expected a whole number >= 1"),
        ({"timestamps": ["a", "b"]}, r"timestamps: got \['a', 'b'\], expected"),
        ({"timestamps": {"target": "seconds_now"}}, "timestamps: got .*expected"),
        ({"timestamps": {"target": "seconds_seen", "history": "seconds_now"}}, "the last columns are seconds_now, sec"),
        ({}, "got 14 columns .*expected 12"),
    ],
)
def test_metadata_that_does_not_fit_the_columns_is_refused(
    tmp_path: Path, write_byo: Callable, byo_rows: Callable, entries: dict, message: str
) -> None:
    source = write_byo(tmp_path / "parquet", with_times(byo_rows(4)), with_times(byo_rows(4)))
    add_metadata(source, **entries)
    with pytest.raises(DataError, match=message):
        convert_parquet(ConvertOptions(source, tmp_path / "out", 2, T))


def test_times_of_another_length_than_the_history_are_refused(
    tmp_path: Path, write_byo: Callable, byo_rows: Callable
) -> None:
    rows = with_times(byo_rows(4))
    rows["seconds_seen"][2] = [1] * 9
    source = write_byo(tmp_path / "parquet", rows, with_times(byo_rows(4)))
    add_metadata(source, timestamps=TIMES)
    with pytest.raises(DataError, match="row 0: feature seconds_seen: got a history of 9 items, but sku_seen has"):
        convert_parquet(ConvertOptions(source, tmp_path / "out", 2, T))
