"""Parquet -> TFRecord: which columns, types and values are read, and which are refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.preprocessing.byo import Rows, T, expected
from training.errors import DataError
from training.preprocessing.tfrecord_dataset import ConvertOptions, convert_parquet


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("clicked", pa.bool_()),
        ("clicked", pa.float32()),
        ("clicked", pa.int8()),
        ("sku_now", pa.uint64()),
        ("sku_now", pa.int8()),
        ("sku_seen", pa.large_list(pa.int32())),
        ("sku_seen", pa.list_(pa.uint16())),
    ],
)
def test_any_integer_width_and_list_kind_is_read(
    convert: Callable, byo_rows: Callable, read_records: Callable, column: str, kind: Any
) -> None:
    rows = byo_rows(23, 1)
    make = {pa.bool_(): bool, pa.float32(): float}.get(kind, lambda value: value)
    values = [make(v) for v in rows[column]]
    output = convert(train={**rows, column: pa.array(values, kind)})
    assert read_records(output / "train.tfrecord") == expected(rows)


def test_fixed_size_lists_are_read(convert: Callable, byo_rows: Callable, read_records: Callable) -> None:
    rows = byo_rows(6)
    names = ("sku_seen", "shelf_seen", "colour_seen")
    rows |= {name: [[1, 2, 3, 1, 2]] * 3 + [[3, 3, 3, 3, 3]] * 3 for name in names}
    output = convert(train={n: pa.array(v, pa.list_(pa.int32(), T)) if n in names else v for n, v in rows.items()})
    assert read_records(output / "train.tfrecord") == expected(rows)


def break_value(name: str, row: int, value: Any) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        rows[name][row] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [  # row 5 is row 1 of part.2.parquet: two rows per part
        (break_value("sku_now", 5, 51), "part.2.parquet, row 1: feature sku_now: got 51, expected an id in 0..50"),
        (break_value("who", 4, -1), "part.2.parquet, row 0: feature who: got -1, expected an id in 0..9"),
        (break_value("shelf_now", 3, 7), "part.1.parquet, row 1: feature shelf_now: got 7, expected an id in 0..6"),
        (break_value("clicked", 5, 2), "part.2.parquet, row 1: feature clicked: got 2, expected 0 or 1"),
        (break_value("age", 5, None), "part.2.parquet, row 1: feature age: got null"),
        (break_value("sku_seen", 5, None), "part.2.parquet, row 1: feature sku_seen: got null"),
    ],
)
def test_bad_values_name_file_row_feature_value_and_limit(
    convert: Callable, byo_rows: Callable, tmp_path: Path, change: Callable[[Rows], None], message: str
) -> None:
    rows = byo_rows(23, 1)
    change(rows)
    with pytest.raises(DataError) as error:
        convert(train=rows)
    assert f"{tmp_path / 'parquet' / 'train'}/{message}" in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["parquet"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1, 2], [3, 51, 1]], "row 1: feature sku_seen, position 1: got 51, expected an id in 0..50"),
        ([[1, 2], [3, -7, 1]], "row 1: feature sku_seen, position 1: got -7"),
        ([[1, None], [3, 1, 1]], "row 0: feature sku_seen, position 1: got null"),
        ([[1, 2], [3, 1]], "row 1: feature shelf_seen: got a history of 3 items, but sku_seen has 2"),
    ],
)
def test_bad_histories_name_the_position(convert: Callable, byo_rows: Callable, values: Any, message: str) -> None:
    rows = byo_rows(2)
    rows |= {"sku_seen": values, "shelf_seen": [[1, 2], [3, 1, 1]], "colour_seen": [[1, 2], [3, 1, 1]]}
    with pytest.raises(DataError) as error:
        convert(test=rows)
    assert f"test/part.0.parquet, {message}" in str(error.value)


def test_a_nan_label_is_refused(convert: Callable, byo_rows: Callable) -> None:
    rows = byo_rows(2)
    rows["clicked"] = [1.0, float("nan")]
    with pytest.raises(DataError, match="row 1: feature clicked: got nan, expected 0 or 1"):
        convert(train=rows)


@pytest.mark.parametrize(
    ("column", "kind", "message"),
    [
        ("sku_now", pa.string(), "column sku_now: got type string, expected an integer"),
        ("who", pa.float64(), "column who: got type double, expected an integer"),
        ("sku_seen", pa.list_(pa.float32()), "column sku_seen: got type list<.*float>, expected a list of integers"),
        ("clicked", pa.string(), "column clicked: got type string, expected 0 or 1"),
    ],
)
def test_wrong_column_types_are_refused(
    convert: Callable, byo_rows: Callable, column: str, kind: Any, message: str
) -> None:
    rows = byo_rows(23, 1)
    values = [str(v) for v in rows[column]] if kind == pa.string() else rows[column]
    with pytest.raises(DataError, match=f"part.0.parquet: {message}"):
        convert(train={**rows, column: pa.array(values, kind)})


def test_a_scalar_where_a_history_should_be_is_refused(convert: Callable, byo_rows: Callable) -> None:
    rows = byo_rows(2)
    rows["sku_unseen"] = [1, 2]
    with pytest.raises(DataError, match="column sku_unseen: got type int64, expected a list of integers"):
        convert(train=rows)


def test_missing_and_extra_columns_are_refused(convert: Callable, byo_rows: Callable) -> None:
    rows = byo_rows(2)
    missing = {n: v for n, v in rows.items() if n != "colour_now"}
    with pytest.raises(DataError, match=r"got 11 columns .* expected 12: 1 label, 2 user features, 3 times 3 item"):
        convert(train=missing)
    with pytest.raises(DataError, match="got 13 columns"):
        convert(train={**rows, "when": [1, 2]})
    with pytest.raises(DataError, match=r"test/part.0.parquet: got columns .*; expected, in this order, clicked, who"):
        convert(test=missing)


def test_equal_column_names_are_refused(convert: Callable, byo_rows: Callable, tmp_path: Path) -> None:
    source = tmp_path / "parquet"
    convert()
    table = pq.read_table(source / "test" / "part.0.parquet")
    for split in ("train", "test"):
        shutil.rmtree(source / split)
        (source / split).mkdir()
        names = ["age" if n == "who" else n for n in table.column_names]
        pq.write_table(table.rename_columns(names), source / split / "part.0.parquet")
    with pytest.raises(DataError, match="expected a different name for each"):
        convert_parquet(ConvertOptions(source, tmp_path / "out", number_of_user_features=2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not the expected structure"),
        ('{"sizes": []}', "not the expected structure"),
        ('{"cardinalities": [{"name": "uid"}]}', "not the expected structure"),
        (
            '{"cardinalities": [{"name": "uid", "value": "9"}]}',
            "cardinality of 'uid': got '9', expected a whole number",
        ),
        ('{"cardinalities": [{"name": "uid", "value": 0}]}', "cardinality of 'uid': got 0"),
        ('{"cardinalities": [{"name": "uid", "value": 9}]}', "leaves none for item features"),
        (None, "cannot be read"),
    ],
)
def test_bad_metadata_is_refused(tmp_path: Path, write_byo: Callable, content: str | None, message: str) -> None:
    source = write_byo(tmp_path / "parquet")
    if content is None:
        (source / "metadata.json").unlink()
    else:
        (source / "metadata.json").write_text(content)
    with pytest.raises(DataError, match=message):
        convert_parquet(ConvertOptions(source, tmp_path / "out"))
