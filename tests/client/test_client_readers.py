from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from client import DataFileError, TensorDescription
from client.locate import open_rows
from client.readers import reader_for
from client.readers.crc32c import crc32c, masked_crc32c
from client.readers.tfrecord import records
from training.feature_spec import FeatureSpec

ROWS = 103
Inputs = dict[str, TensorDescription]


def read_all(data: Path, inputs: Inputs, rows: int = 16, **options: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
    limit = options.pop("limit", None)
    batches = list(open_rows(data, **options).batches(inputs, rows, limit))
    sizes = [len(columns["user_id"]) for columns, _ in batches]
    assert all(size == rows for size in sizes[:-1])
    labels = [label for _, label in batches if label is not None]
    columns = {name: np.concatenate([c[name] for c, _ in batches]) for name in inputs}
    return columns, np.concatenate(labels) if labels else np.empty(0)


def assert_same(columns: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, column in columns.items():
        assert column.dtype == np.int64
        np.testing.assert_array_equal(column.reshape(expected[name].shape), expected[name], err_msg=name)


@pytest.fixture(scope="module")
def columns(tiny_model: Any) -> dict[str, np.ndarray]:
    rows: dict[str, np.ndarray] = tiny_model.rows(ROWS, seed=3)
    return rows


WRITERS: dict[str, Callable[[Any, Path, dict[str, np.ndarray]], None]] = {
    "plain.tfrecord": lambda tools, file, c: tools.write_tfrecord(file, c),
    "ragged.tfrecord": lambda tools, file, c: tools.write_tfrecord(file, c, ragged=True),
    "prebatched.tfrecord": lambda tools, file, c: tools.write_tfrecord(file, c, prebatch=10),
    "rows.parquet": lambda tools, file, c: tools.write_parquet(file, c),
    "rows.jsonl": lambda tools, file, c: tools.write_json_lines(file, c),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("rows", [1, 16, 1000])
def test_every_format_gives_the_rows_that_were_written(
    tools: Any, tmp_path: Path, columns: dict[str, np.ndarray], tiny_inputs: Inputs, name: str, rows: int
) -> None:
    WRITERS[name](tools, tmp_path / name, columns)
    got, labels = read_all(tmp_path / name, tiny_inputs, rows)
    assert_same(got, columns)
    np.testing.assert_array_equal(labels, columns["label"])
    assert set(got) == set(tiny_inputs)


def test_limit_takes_the_first_rows(
    tools: Any, tmp_path: Path, columns: dict[str, np.ndarray], tiny_inputs: Inputs
) -> None:
    tools.write_tfrecord(tmp_path / "a.tfrecord", columns, prebatch=50)
    for limit in (7, 32, 40, 103, 500):
        got, labels = read_all(tmp_path / "a.tfrecord", tiny_inputs, limit=limit)
        assert len(labels) == min(limit, ROWS)
        assert_same(got, {name: c[:limit] for name, c in columns.items()})


def test_a_specification_names_files_label_and_order(
    tools: Any, tmp_path: Path, columns: dict[str, np.ndarray], tiny_inputs: Inputs, tiny_model: Any
) -> None:
    """Two chunks: ids in TFRecord over two files, prebatched; label and histories in Parquet, cut elsewhere."""
    raw = tiny_model.spec.to_dict()
    ids = ["user_id", "item_id_trgt", "cat_id_trgt"]
    rest = [name for name in columns if name not in ids]
    raw["source_spec"] = {
        "test": [
            {"type": "tfrecord", "features": ids, "files": ["b.tfrecord", "a.tfrecord"]},
            {"type": "parquet", "features": rest, "files": ["c.parquet"]},
        ]
    }
    FeatureSpec.from_dict(raw, tmp_path).save(tmp_path / "feature_spec.yaml")
    tools.write_tfrecord(
        tmp_path / "b.tfrecord", {"label": columns["label"][:60]} | {n: columns[n][:60] for n in ids}, 30
    )
    tools.write_tfrecord(tmp_path / "a.tfrecord", {"label": columns["label"][60:]} | {n: columns[n][60:] for n in ids})
    tools.write_parquet(tmp_path / "c.parquet", {n: columns[n] for n in rest})
    for data in (tmp_path, tmp_path / "feature_spec.yaml"):
        got, labels = read_all(data, tiny_inputs)
        assert_same(got, columns)
        np.testing.assert_array_equal(labels, columns["label"])

    tools.write_parquet(tmp_path / "c.parquet", {n: columns[n][:90] for n in rest})
    with pytest.raises(DataFileError, match="differ in their number of rows"):
        read_all(tmp_path, tiny_inputs)


def test_part_files_are_read_in_the_order_of_their_numbers(
    tools: Any, tmp_path: Path, columns: dict[str, np.ndarray], tiny_inputs: Inputs
) -> None:
    (tmp_path / "test").mkdir()
    for part in range(11):
        piece = {name: c[part * 10 : part * 10 + 10] for name, c in columns.items()}
        tools.write_parquet(tmp_path / "test" / f"part.{part}.parquet", piece)
    got, _ = read_all(tmp_path, tiny_inputs)
    assert_same(got, columns)


def test_parquet_columns_with_other_names_are_taken_in_the_specifications_order(
    tools: Any, tmp_path: Path, columns: dict[str, np.ndarray], tiny_inputs: Inputs, tiny_model: Any
) -> None:
    tiny_model.spec.save(tmp_path / "spec.yaml")
    ordered = {name: columns[name] for name in tiny_model.spec.features}
    tools.write_parquet(tmp_path / "a.parquet", ordered, [f"column_{i}" for i in range(len(ordered))])
    got, labels = read_all(tmp_path / "a.parquet", tiny_inputs, spec_file=tmp_path / "spec.yaml")
    assert_same(got, columns)
    np.testing.assert_array_equal(labels, columns["label"])
    with pytest.raises(DataFileError, match=r"no column user_id.*it has: column_0.*feature_spec\.yaml"):
        read_all(tmp_path / "a.parquet", tiny_inputs)


def test_rows_without_labels_are_read_too(
    tools: Any, tmp_path: Path, columns: dict[str, np.ndarray], tiny_inputs: Inputs
) -> None:
    with (tmp_path / "a.jsonl").open("w") as stream:
        for row in range(3):
            stream.write(json.dumps({n: columns[n][row].tolist() for n in tiny_inputs}) + "\n\n")
    got, labels = read_all(tmp_path / "a.jsonl", tiny_inputs)
    assert_same(got, {n: columns[n][:3] for n in columns})
    assert labels.size == 0


def test_checksums_of_known_strings() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"ab") != crc32c(b"ba")


def test_checksums_over_several_blocks_agree_with_tensorflow(tmp_path: Path) -> None:
    import tensorflow as tf

    data = np.random.default_rng(0).integers(0, 256, 9001, np.uint8).tobytes()
    for size in (1, 3, 4, 4095, 4096, 4097, 4098, 9001):
        with tf.io.TFRecordWriter(str(tmp_path / "x")) as writer:
            writer.write(data[:size])
        stored = (tmp_path / "x").read_bytes()
        assert int.from_bytes(stored[-4:], "little") == masked_crc32c(data[:size]), size
        assert list(records(tmp_path / "x")) == [data[:size]]


@pytest.fixture
def damaged(
    tools: Any, tmp_path: Path, columns: dict[str, np.ndarray]
) -> Callable[[Callable[[bytearray], None]], Path]:
    """damaged(change) -> a file of which `change` has altered the bytes from its third record on."""

    def make(change: Callable[[bytearray], None]) -> Path:
        file = tmp_path / "bad.tfrecord"
        tools.write_tfrecord(file, {name: c[:5] for name, c in columns.items()})
        whole = file.read_bytes()
        start = sum(16 + len(data) for data, _ in zip(records(file), range(2), strict=False))
        tail = bytearray(whole[start:])
        change(tail)
        file.write_bytes(whole[:start] + tail)
        return file

    return make


def cut_in_header(tail: bytearray) -> None:
    del tail[7:]


def cut_in_data(tail: bytearray) -> None:
    del tail[60:]


def flip_length(tail: bytearray) -> None:
    tail[0] ^= 1


def flip_data(tail: bytearray) -> None:
    tail[60] ^= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut_in_header, "record 3: the file ends inside the record's header"),
        (cut_in_data, "record 3: the file ends inside the record; it was cut off"),
        (flip_length, "record 3: the checksum of its length is wrong"),
        (flip_data, "record 3: the checksum of its data is wrong"),
    ],
)
def test_a_damaged_tfrecord_is_an_error_with_its_record(
    damaged: Any, tiny_inputs: Inputs, change: Callable[[bytearray], None], message: str
) -> None:
    file = damaged(change)
    with pytest.raises(DataFileError, match=rf"bad\.tfrecord, {message}"):
        read_all(file, tiny_inputs)


def test_a_record_that_is_no_example_or_lacks_a_feature(
    tools: Any, tmp_path: Path, columns: dict[str, np.ndarray], tiny_inputs: Inputs
) -> None:
    import tensorflow as tf

    file = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(b"\xff\xff not a message")
    with pytest.raises(DataFileError, match=r"record 1: no tf\.train\.Example"):
        read_all(file, tiny_inputs)

    few = {name: c[:4] for name, c in columns.items()}
    tools.write_tfrecord(file, few)
    reader = reader_for(file)
    other = {"price": TensorDescription("price", np.dtype(np.float32), (1,))}
    with pytest.raises(DataFileError, match="record 1, feature price: got nothing; expected float32"):
        list(reader.read(file, other, 10))


def test_prebatched_columns_must_agree_in_their_rows(
    tools: Any, tmp_path: Path, columns: dict[str, np.ndarray], tiny_inputs: Inputs
) -> None:
    file = tmp_path / "a.tfrecord"
    tools.write_tfrecord(file, {name: c[: 9 if name == "user_id" else 10] for name, c in columns.items()}, 10)
    with pytest.raises(DataFileError, match=r"record 1: scalar features differ.*user_id 9"):
        read_all(file, tiny_inputs)
    tools.write_tfrecord(file, {name: c[: 9 if name == "cat_id_pos" else 10] for name, c in columns.items()}, 10)
    with pytest.raises(DataFileError, match="feature cat_id_pos: got 108 values; expected 120, 12 for each of 10 rows"):
        read_all(file, tiny_inputs)


def test_float_features_and_histories_alone_are_read(tmp_path: Path) -> None:
    import tensorflow as tf

    file = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(file)) as writer:
        value = tf.train.Feature(float_list=tf.train.FloatList(value=[0.5, 1.5, 2.5, 3.5]))
        writer.write(tf.train.Example(features=tf.train.Features(feature={"x": value})).SerializeToString())
    reader = reader_for(file)
    tensor = TensorDescription("x", np.dtype(np.float32), (2,))
    assert next(reader.read(file, {"x": tensor}, 8))["x"].tolist() == [[0.5, 1.5], [2.5, 3.5]]
    with pytest.raises(DataFileError, match=r"rows 1 to 2: input x: got values of float32; expected int64"):
        list(reader.read(file, {"x": TensorDescription("x", np.dtype(np.int64), (2,))}, 8))
    with pytest.raises(DataFileError, match="got 4 values; expected a multiple of 3"):
        list(reader.read(file, {"x": TensorDescription("x", np.dtype(np.float32), (3,))}, 8))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"user_id": 1}', "line 2, feature item_id_pos: got nothing; expected a value under 'item_id_pos'"),
        ('{"user_id": 1.5, "item_id_pos": []}', "feature user_id: got 1.5; expected int64"),
        ('{"user_id": [1, 2], "item_id_pos": []}', "feature user_id: got 2 values; expected one value"),
        ('{"user_id": null, "item_id_pos": []}', "feature user_id: got null; expected int64"),
        ('{"user_id": 1, "item_id_pos": [1, [2]]}', r"feature item_id_pos: got \[1, \[2\]\]; expected int64"),
        ("[1, 2]", "line 2: got list; expected an object"),
        ('{"user_id": ', "line 2: not JSON"),
    ],
)
def test_json_lines_errors_name_line_and_feature(tmp_path: Path, row: str, message: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"user_id": 1, "item_id_pos": [1, 2, 3]}\n' + row + "\n")
    inputs = {
        "user_id": TensorDescription("user_id", np.dtype(np.int64), (1,)),
        "item_id_pos": TensorDescription("item_id_pos", np.dtype(np.int64), (2,)),
    }
    with pytest.raises(DataFileError, match=message.replace("line 2, ", "row 2, ")):
        read_all(file, inputs)


@pytest.mark.parametrize(
    ("user", "history", "message"),
    [
        (pa.array([1, None, 3]), None, r"row 2, feature user_id: got no value \(null\)"),
        (pa.array([1.0, 2.0, 3.0]), None, "rows 1 to 3: input user_id: got values of float64; expected int64"),
        (pa.array(["a", "b", "c"]), None, "feature user_id: got a column of string"),
        (pa.array([[1], [2, 3], [4]]), None, "row 2, feature user_id: got 2 values; expected one value"),
        (None, pa.array([[1], [2, None], [3]]), "row 2, feature item_id_pos: got an item without value"),
    ],
)
def test_parquet_errors_name_row_and_feature(tmp_path: Path, user: Any, history: Any, message: str) -> None:
    file = tmp_path / "a.parquet"
    users = user if user is not None else pa.array([1, 2, 3])
    histories = history if history is not None else pa.array([[1], [2], []], pa.large_list(pa.int64()))
    pq.write_table(pa.table({"user_id": users, "item_id_pos": histories}), file)
    inputs = {
        "user_id": TensorDescription("user_id", np.dtype(np.int64), (1,)),
        "item_id_pos": TensorDescription("item_id_pos", np.dtype(np.int64), (2,)),
    }
    with pytest.raises(DataFileError, match=message):
        read_all(file, inputs)


def test_places_that_hold_no_rows(tmp_path: Path, tiny_inputs: Inputs, tiny_model: Any) -> None:
    cases = {
        tmp_path / "none": "no such file or folder",
        tmp_path / "spec.yaml": "no such file",
        tmp_path: "got no data files",
    }
    for data, message in cases.items():
        with pytest.raises(DataFileError, match=message):
            open_rows(data)
    (tmp_path / "a.csv").touch()
    with pytest.raises(DataFileError, match=r"ending in '\.csv'; expected one of \.tfrecord, \.parquet, \.jsonl"):
        open_rows(tmp_path / "a.csv")
    (tmp_path / "bad.parquet").write_text("no Parquet")
    with pytest.raises(DataFileError, match="cannot be read as Parquet"):
        open_rows(tmp_path)
    tiny_model.spec.save(tmp_path / "feature_spec.yaml")
    with pytest.raises(DataFileError, match=r"mapping test: no such file: .*test\.tfrecord"):
        open_rows(tmp_path)


def test_a_dataset_of_another_width_is_refused(tmp_path: Path, tiny_inputs: Inputs, tiny_model: Any) -> None:
    tiny_model.spec.save(tmp_path / "feature_spec.yaml")
    (tmp_path / "test.tfrecord").touch()
    wider = {**tiny_inputs, "item_id_pos": TensorDescription("item_id_pos", np.dtype(np.int64), (100,))}
    with pytest.raises(DataFileError, match=r"feature item_id_pos: .* says 12 values a row; the model takes 100"):
        open_rows(tmp_path).batches(wider, 10)
