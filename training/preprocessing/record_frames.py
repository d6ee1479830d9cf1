"""Blocks of rows -> the bytes of a TFRecord file: a row per record, or P rows per record with columns flattened.

A record is framed by its length (8 bytes, low first) and that length's checksum, and by its own checksum behind it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from training.preprocessing import crc32c
from training.preprocessing.example_encoder import (
    encode_entries,
    encode_examples,
    encode_heads,
    encode_values,
    example_of,
)
from training.readers.runs import first_of_runs

ROWS_AT_ONCE = 2048  # their bytes stay in the processor's cache
LENGTH_BYTES = 8
ROWS_OF_LARGE_RECORD = 256  # from here on records are encoded one by one, each in cached pieces


def row_records(columns: Mapping[str, np.ndarray]) -> list[bytes]:
    """columns {name: [R] or [R, T]} -> the pieces of R framed records. Equal consecutive histories are encoded once."""
    pieces: list[bytes] = []
    for start in range(0, len(next(iter(columns.values()))), ROWS_AT_ONCE):
        pieces += _row_records({n: v[start : start + ROWS_AT_ONCE] for n, v in columns.items()})
    return pieces


def batch_records(columns: Mapping[str, np.ndarray], rows_per_record: int) -> list[bytes]:
    """columns {name: [R] or [R, T]}, R a multiple of rows_per_record -> the pieces of the framed records."""
    pieces: list[bytes] = []
    is_large = rows_per_record > ROWS_OF_LARGE_RECORD
    at_once = rows_per_record if is_large else rows_per_record * (ROWS_AT_ONCE // rows_per_record)
    for start in range(0, len(next(iter(columns.values()))), at_once):
        part = {n: v[start : start + at_once] for n, v in columns.items()}
        pieces += _framed([_large_record(part)]) if is_large else _small_records(part, rows_per_record)
    return pieces


def _small_records(columns: Mapping[str, np.ndarray], rows_per_record: int) -> list[bytes]:
    records = len(next(iter(columns.values()))) // rows_per_record
    flat, ends = encode_examples({name: values.reshape(records, -1) for name, values in columns.items()})
    lengths = np.diff(ends, prepend=0)
    if lengths.max() > crc32c.LONGEST_SHORT:
        return _framed(_cut(flat, ends))
    sums = crc32c.finished(crc32c.short_remainders(flat, ends), lengths)
    return [piece for framed in zip(_frames(lengths), _cut(flat, ends), _words(sums), strict=True) for piece in framed]


def _framed(records: list[bytes]) -> list[bytes]:
    frames = _frames(np.array([len(record) for record in records]))
    sums = _words(np.array([crc32c.long_checksum(record) for record in records]))
    return [piece for framed in zip(frames, records, sums, strict=True) for piece in framed]


def _large_record(columns: Mapping[str, np.ndarray]) -> bytes:
    """All rows in one record. Equal consecutive histories are encoded once."""
    histories = [values for values in columns.values() if values.ndim > 1]
    is_first = first_of_runs(histories, len(next(iter(columns.values()))))
    history_of = (np.cumsum(is_first) - 1).tolist()
    payloads = {}
    for name, values in columns.items():
        if values.ndim == 1:
            payloads[name] = encode_values(values[None])[0].tobytes()
            continue
        distinct = values[is_first]
        encoded: list[bytes] = []
        for start in range(0, len(distinct), ROWS_AT_ONCE):
            encoded += _cut(*encode_values(distinct[start : start + ROWS_AT_ONCE]))
        payloads[name] = b"".join([encoded[history] for history in history_of])
    return example_of(payloads)


def _row_records(columns: Mapping[str, np.ndarray]) -> list[bytes]:
    """A record's head are the scalars, its tail the histories, which rows share."""
    histories = {name: values for name, values in columns.items() if values.ndim > 1}
    scalars = {name: values[:, None] for name, values in columns.items() if values.ndim == 1}
    is_first = first_of_runs(histories.values(), len(next(iter(columns.values()))))
    tail_of = np.cumsum(is_first) - 1
    tails, tail_ends = encode_entries({name: values[is_first] for name, values in histories.items()})
    tail_lengths = np.diff(tail_ends, prepend=0)[tail_of]
    heads, head_ends = encode_heads(scalars, tail_lengths)
    lengths = np.diff(head_ends, prepend=0) + tail_lengths
    tail_bytes = _cut(tails, tail_ends)
    parts = list(zip(_cut(heads, head_ends), (tail_bytes[tail] for tail in tail_of.tolist()), strict=True))
    if lengths.max() <= crc32c.LONGEST_SHORT:
        head_sums = crc32c.moved(crc32c.short_remainders(heads, head_ends), tail_lengths)
        sums = crc32c.finished(head_sums ^ crc32c.short_remainders(tails, tail_ends)[tail_of], lengths)
    else:
        sums = np.array([crc32c.long_checksum(head + tail) for head, tail in parts])
    framed = zip(_frames(lengths), parts, _words(sums), strict=True)
    return [piece for frame, (head, tail), checksum in framed for piece in (frame, head, tail, checksum)]


def _frames(lengths: np.ndarray) -> list[bytes]:
    """What stands in front of records of these lengths [R]."""
    flat = np.ascontiguousarray(lengths.astype("<u8")).view(np.uint8)
    ends = np.arange(1, len(lengths) + 1) * LENGTH_BYTES
    sums = crc32c.finished(crc32c.short_remainders(flat, ends), np.full(len(lengths), LENGTH_BYTES))
    return [length + checksum for length, checksum in zip(_cut(flat, ends), _words(sums), strict=True)]


def _words(checksums: np.ndarray) -> list[bytes]:
    flat = np.ascontiguousarray(checksums.astype("<u4")).view(np.uint8)
    return _cut(flat, np.arange(1, len(checksums) + 1) * 4)


def _cut(flat: np.ndarray, ends: np.ndarray) -> list[bytes]:
    text, stops = flat.tobytes(), ends.tolist()
    return [text[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]
