"""Integer columns -> serialized tf.train.Example records, whole blocks at a time.

The wire format (protocol buffers; a varint has 7 bits per byte, low bits first, top bit set on all but the last):

    Example    = 0A <length> Features
    Features   = for each feature: 0A <length> Entry
    Entry      = 0A <length> name  12 <length> Feature
    Feature    = 1A <length> Int64List
    Int64List  = 0A <length> the values as varints, one after another

A block of R records is laid out as a byte matrix [R, W] in which every varint has the room of the longest one
of its kind, with a matrix of the same shape that says which bytes count. Selecting these gives all records
behind one another, with no loop over rows or values.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

FIELD_1, FIELD_2, FIELD_3 = b"\x0a", b"\x12", b"\x1a"  # "length-delimited field 1, 2, 3"


def encode_examples(columns: Mapping[str, np.ndarray]) -> tuple[bytes, np.ndarray]:
    """columns {name: [R, V] integers} -> (all records in one piece, ends [R] of each record in it).

    V may differ between columns and must be at least 1. Negative numbers take ten bytes, as in any int64 list.
    """
    records = len(next(iter(columns.values())))
    entries = [_entry(name.encode("utf-8"), values) for name, values in columns.items()]
    features_length = np.sum([entry.lengths for entry in entries], axis=0)
    whole = _Layout(records)
    whole.add_constant(FIELD_1)
    whole.add_varints(features_length[:, None])
    for entry in entries:
        whole.add(entry)
    chosen, used = whole.matrices()
    return chosen[used].tobytes(), np.cumsum(whole.lengths)


def _entry(name: bytes, values: np.ndarray) -> _Layout:
    """<0A, length, Entry> of one feature."""
    records = len(values)
    payload = _Layout(records)
    payload.add_varints(values)
    for header in (FIELD_1, FIELD_3, FIELD_2):  # the values, in an Int64List, in a Feature, in an Entry
        payload = _wrapped(header, payload)
    body = _Layout(records)
    body.add_constant(FIELD_1 + _varint(len(name)) + name)
    body.add(payload)
    return _wrapped(FIELD_1, body)


def _wrapped(header: bytes, content: _Layout) -> _Layout:
    """header, the content's length, the content."""
    layout = _Layout(len(content.lengths))
    layout.add_constant(header)
    layout.add_varints(content.lengths[:, None])
    layout.add(content)
    return layout


def _varint(value: int) -> bytes:
    pieces = []
    while value > 0x7F:
        pieces.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*pieces, value])


class _Layout:
    """R byte strings that are built side by side. lengths [R]: bytes that count in each so far."""

    def __init__(self, records: int) -> None:
        self.lengths = np.zeros(records, dtype=np.int64)
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []

    def add_constant(self, text: bytes) -> None:
        row = np.frombuffer(text, dtype=np.uint8)
        shape = (len(self.lengths), len(row))
        self._parts.append((np.broadcast_to(row, shape), np.broadcast_to(True, shape)))
        self.lengths += len(row)

    def add_varints(self, values: np.ndarray) -> None:
        """values [R, V]: V varints for each record."""
        negative = values.dtype.kind == "i" and values.min(initial=0) < 0
        largest = 2**64 - 1 if negative else int(values.max(initial=0))
        rest = values.astype(np.min_scalar_type(largest))  # the narrowest numbers are the fastest
        width = max(1, -(-largest.bit_length() // 7))
        chosen = np.empty((*rest.shape, width), dtype=np.uint8)
        used = np.empty((*rest.shape, width), dtype=bool)
        used[..., 0] = True
        for place in range(width):
            chosen[..., place] = rest & np.asarray(0x7F, rest.dtype)
            rest = rest >> np.asarray(7, rest.dtype)
            if place + 1 < width:
                more = rest != 0
                chosen[..., place] |= more.view(np.uint8) << np.uint8(7)
                used[..., place + 1] = more
        self._parts.append((chosen.reshape(len(rest), -1), used.reshape(len(rest), -1)))
        self.lengths += np.count_nonzero(self._parts[-1][1], axis=1)

    def add(self, other: _Layout) -> None:
        self._parts += other._parts
        self.lengths += other.lengths

    def matrices(self) -> tuple[np.ndarray, np.ndarray]:
        """bytes [R, W], which of them count [R, W]."""
        return (
            np.concatenate([chosen for chosen, _ in self._parts], axis=1),
            np.concatenate([used for _, used in self._parts], axis=1),
        )
