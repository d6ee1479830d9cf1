"""Parquet -> TFRecord: a validation split, groups of rows, and times."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.preprocessing.byo import Rows, T, expected, flattened
from training.errors import DataError
from training.preprocessing.row_pairs import PairSearch
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


def in_pairs(rows: Rows) -> Rows:
    """Each row twice, the second with another label and target: a positive and its negative."""
    doubled = {name: [value for value in values for _ in range(2)] for name, values in rows.items()}
    return doubled | {
        "clicked": [1, 0] * len(rows["clicked"]),
        "sku_now": [1 + i % 50 for i in range(len(doubled["who"]))],
    }


def differing(rows: Rows, row: int, name: str) -> Rows:
    """With another value in one row, of the same length in the case of a history."""
    before = rows[name][row]
    after = [*before[:-1], before[-1] % 3 + 1] if isinstance(before, list) else before % 3 + 1
    return rows | {name: [*rows[name][:row], after, *rows[name][row + 1 :]]}


def converted(write_byo: Callable, folder: Path, train: Rows, **entries: Any) -> tuple[int, bool]:
    """rows_per_group of the specification, and whether the command says that it was found."""
    source = write_byo(folder / "parquet", train)
    add_metadata(source, **entries)
    result = convert_parquet(ConvertOptions(source, folder / "out", 2, T))
    return result.spec.metadata["rows_per_group"], "rows_per_group: 2" in result.describe()


def test_pairs_that_share_their_histories_are_found_unless_the_metadata_says_otherwise(
    tmp_path: Path, write_byo: Callable, byo_rows: Callable
) -> None:
    """write_byo gives two rows to a file."""
    pairs = in_pairs(byo_rows(12, 1))
    assert converted(write_byo, tmp_path / "silent", pairs) == (2, True)
    assert converted(write_byo, tmp_path / "one", pairs, rows_per_group=1) == (1, False)
    assert converted(write_byo, tmp_path / "three", pairs, rows_per_group=3) == (3, False)
    assert converted(write_byo, tmp_path / "none", byo_rows(24, 1)) == (1, False)


@pytest.mark.parametrize("name", ["who", "age", "sku_seen", "colour_unseen"])
def test_one_pair_that_differs_is_enough_and_be_it_the_last(
    tmp_path: Path, write_byo: Callable, byo_rows: Callable, name: str
) -> None:
    rows = byo_rows(12, 1)
    for column in ("sku_seen", "shelf_seen", "colour_seen", "sku_unseen", "shelf_unseen", "colour_unseen"):
        rows[column][-1] = [2, 3]
    pairs = in_pairs(rows)
    assert converted(write_byo, tmp_path / "equal", pairs) == (2, True)
    assert converted(write_byo, tmp_path / "differs", differing(pairs, 23, name)) == (1, False)


def test_a_row_that_is_left_over_in_a_file_means_no_pairs(
    tmp_path: Path, write_byo: Callable, byo_rows: Callable
) -> None:
    pairs = in_pairs(byo_rows(12, 1))
    assert converted(write_byo, tmp_path / "odd", {n: v[:23] for n, v in pairs.items()}) == (1, False)
    one_file = write_byo(tmp_path / "parquet", pairs)
    table = pa.concat_tables(pq.read_table(one_file / "train" / f"part.{part}.parquet") for part in range(12))
    shutil.rmtree(one_file / "train")
    (one_file / "train").mkdir()
    for part, rows in enumerate((table.slice(0, 3), table.slice(3))):  # pairs in the whole, not in the files
        pq.write_table(rows, one_file / "train" / f"part.{part}.parquet")
    result = convert_parquet(ConvertOptions(one_file, tmp_path / "cut", 2, T))
    assert result.spec.metadata["rows_per_group"] == 1


@pytest.mark.parametrize("sizes", [(8,), (1,) * 8, (3, 0, 5), (5, 2, 1)])
def test_pairs_are_found_however_a_file_is_cut_into_blocks(sizes: tuple[int, ...]) -> None:
    history = np.repeat(np.arange(12).reshape(4, 3), 2, axis=0)
    for last, holds in ((11, True), (99, False)):
        history[-1, -1] = last
        ends = np.cumsum(sizes)[:-1]
        blocks = [{"history": part, "label": part[:, 0]} for part in np.split(history, ends)]
        search = PairSearch(["history"])
        assert list(search.over(iter(blocks))) == blocks
        assert search.holds == holds
    search = PairSearch(["history"])
    list(search.over(iter([{"history": history[:3]}])))
    assert not search.holds


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
