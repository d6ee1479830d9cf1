"""TFRecord files of tf.train.Example, without TensorFlow: a row per record, or P rows with flattened columns.

A file is a sequence of: length (8 bytes, little endian), masked CRC of the length (4), data, masked CRC of it (4).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from client.errors import DataFileError
from client.readers import Columns, Fields
from client.readers.crc32c import masked_crc32c
from client.readers.example_message import example_class
from client.readers.values import fit, unexpected
from client.transport import TensorDescription

HEADER = struct.Struct("<QI")
FOOTER = struct.Struct("<I")
BUFFER_BYTES = 1 << 20


def column_names(file: Path) -> list[str]:
    for _, features in _examples(file):
        return sorted(features)
    return []


def read(file: Path, fields: Fields, rows: int, absent: str | None = None) -> Iterator[Columns]:
    """Prebatched records are recognised by their scalars, which then hold a value for each row."""
    first_row, pending = 1, _Pending(fields)
    for number, features in _examples(file):
        if absent is not None and absent in features:
            raise unexpected(f"{file}, record {number}", absent)
        pending.add(features, f"{file}, record {number}")
        if pending.rows >= rows:
            yield pending.columns(file, first_row)
            first_row, pending = first_row + pending.rows, _Pending(fields)
    if pending.rows:
        yield pending.columns(file, first_row)


def records(file: Path) -> Iterator[bytes]:
    """The records' data, checked against both checksums. Raises DataFileError with the record's number (from 1)."""
    with file.open("rb", buffering=BUFFER_BYTES) as stream:
        number = 0
        while header := stream.read(HEADER.size):
            number += 1
            place = f"{file}, record {number}"
            if len(header) < HEADER.size:
                raise DataFileError(
                    f"{place}: the file ends inside the record's header; it was cut off. Write it again."
                )
            length, length_crc = HEADER.unpack(header)
            if masked_crc32c(header[:8]) != length_crc:
                raise DataFileError(
                    f"{place}: the checksum of its length is wrong; the file is damaged or no TFRecord file "
                    "(compressed ones are not read)"
                )
            data, footer = stream.read(length), stream.read(FOOTER.size)
            if len(data) < length or len(footer) < FOOTER.size:
                raise DataFileError(f"{place}: the file ends inside the record; it was cut off. Write it again.")
            if masked_crc32c(data) != FOOTER.unpack(footer)[0]:
                raise DataFileError(f"{place}: the checksum of its data is wrong; the file is damaged. Write it again.")
            yield data


def _examples(file: Path) -> Iterator[tuple[int, Any]]:
    """(record number, {feature name: Feature})."""
    parse = example_class().FromString
    for number, data in enumerate(records(file), start=1):
        try:
            yield number, parse(data).features.feature
        except DecodeError as error:
            raise DataFileError(f"{file}, record {number}: no tf.train.Example: {error}") from error


class _Pending:
    """Rows of some records: flat values and the length of each row, made into arrays all at once."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._values: dict[str, list[np.ndarray]] = {stored: [] for stored in fields}
        self._lengths: dict[str, list[int]] = {stored: [] for stored in fields}
        self.rows = 0

    def add(self, features: Any, place: str) -> None:
        values = {stored: _values(features, stored, tensor, place) for stored, tensor in self._fields.items()}
        count = self._rows_of(values, place)
        for stored, tensor in self._fields.items():
            flat, width = values[stored], tensor.shape[0]
            if count > 1 and flat.size != count * width:
                raise DataFileError(
                    f"{place}, feature {stored}: got {flat.size} values; expected {count * width}, {width} for each of "
                    f"{count} rows"
                )
            self._values[stored].append(flat)
            self._lengths[stored] += [width] * count if count > 1 else [flat.size]
        self.rows += count

    def columns(self, file: Path, first_row: int) -> Columns:
        return {
            tensor.name: fit(
                np.concatenate(self._values[stored]), np.array(self._lengths[stored]), tensor, file, first_row
            )
            for stored, tensor in self._fields.items()
        }

    def _rows_of(self, values: dict[str, np.ndarray], place: str) -> int:
        counts = {stored: len(values[stored]) for stored, tensor in self._fields.items() if tensor.shape == (1,)}
        if len(set(counts.values())) > 1:
            got = ", ".join(f"{stored} {count}" for stored, count in counts.items())
            raise DataFileError(f"{place}: scalar features differ in their number of rows: {got}")
        if counts:
            return next(iter(counts.values()))
        stored, flat = next(iter(values.items()))  # histories only: whole widths tell the rows
        width = self._fields[stored].shape[0]
        if flat.size % width:
            raise DataFileError(f"{place}, feature {stored}: got {flat.size} values; expected a multiple of {width}")
        return flat.size // width


def _values(features: Any, stored: str, tensor: TensorDescription, place: str) -> np.ndarray:
    kind = features[stored].WhichOneof("kind") if stored in features else None  # [] on a map would insert
    if kind == "int64_list":
        return np.array(features[stored].int64_list.value, np.int64)
    if kind == "float_list":
        return np.array(features[stored].float_list.value, np.float32)
    got = "nothing" if kind is None else "bytes"
    raise DataFileError(f"{place}, feature {stored}: got {got}; expected {tensor.dtype.name} values")
