"""TFRecord without TensorFlow: checksums, damage, and records that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client import DataFileError, TensorDescription
from client.readers import reader_for
from client.readers.crc32c import crc32c, masked_crc32c
from client.readers.tfrecord import records
from tests.client.reading import Inputs, read_all


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
