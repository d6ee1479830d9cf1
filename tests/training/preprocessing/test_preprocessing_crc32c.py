"""The many-at-once checksums against TensorFlow's reader, which refuses wrong ones, and a plain bit-by-bit version."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.preprocessing import crc32c
from training.preprocessing.record_frames import batch_records, row_records


def by_bits(message: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in message:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_the_standards_check_value() -> None:
    assert by_bits(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF


@settings(deadline=None, max_examples=40)
@given(messages=st.lists(st.binary(min_size=4, max_size=300), min_size=1, max_size=9))
def test_many_short_messages(messages: list[bytes]) -> None:
    ends = np.cumsum([len(m) for m in messages])
    remainders = crc32c.short_remainders(np.frombuffer(b"".join(messages), np.uint8), ends)
    got = crc32c.finished(remainders, np.diff(ends, prepend=0))
    assert got.tolist() == [by_bits(m) for m in messages]


@pytest.mark.parametrize("length", [0, 1, 5, 1023, 1024, 1025, 4096, 70_001])
def test_a_long_message(length: int) -> None:
    message = np.random.default_rng(length).bytes(length)
    assert crc32c.long_checksum(message) == by_bits(message)


def rows_of(count: int, history: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    columns = {"label": rng.integers(0, 2, count), "item": rng.integers(0, 2**40, count)}
    for name, high in (("small", 100), ("middle", 9000), ("large", 2**31)):
        columns[name] = np.repeat(rng.integers(0, high, (-(-count // 2), history)), 2, axis=0)[:count]
    return columns


def read(path: Path) -> list[dict[str, list[int]]]:
    import tensorflow as tf

    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    parsed = [tf.train.Example.FromString(record).features.feature for record in records]
    return [{name: list(feature.int64_list.value) for name, feature in record.items()} for record in parsed]


@pytest.mark.parametrize(("count", "history"), [(1, 1), (7, 100), (5000, 3), (9, 1500)])
def test_tensorflow_reads_plain_records(tmp_path: Path, count: int, history: int) -> None:
    columns = rows_of(count, history)
    (tmp_path / "a").write_bytes(b"".join(row_records(columns)))
    assert read(tmp_path / "a") == [{n: np.atleast_1d(v[i]).tolist() for n, v in columns.items()} for i in range(count)]


@pytest.mark.parametrize(("count", "history", "prebatch"), [(12, 4, 3), (2000, 50, 1000), (600, 3, 2)])
def test_tensorflow_reads_prebatched_records(tmp_path: Path, count: int, history: int, prebatch: int) -> None:
    columns = rows_of(count, history)
    (tmp_path / "a").write_bytes(b"".join(batch_records(columns, prebatch)))
    starts = range(0, count, prebatch)
    expected = [{n: v[i : i + prebatch].reshape(-1).tolist() for n, v in columns.items()} for i in starts]
    assert read(tmp_path / "a") == expected
