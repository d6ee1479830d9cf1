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


def encode_examples(columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """columns {name: [R, V] integers} -> (all records in one piece, uint8; ends [R] of each record in it).

    V may differ between columns and must be at least 1. Negative numbers take ten bytes, as in any int64 list.
    """
    return encode_heads(columns, np.zeros(len(next(iter(columns.values()))), np.int64))


def encode_heads(
    columns: Mapping[str, np.ndarray], tail_lengths: np.ndarray, before: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The beginnings of records whose other features, of tail_lengths [R] bytes, follow (see encode_entries).

    before: zero bytes in front of each record. Otherwise as encode_examples.
    """
    entries = [_entry(name.encode("utf-8"), values) for name, values in columns.items()]
    whole = _Layout(len(tail_lengths))
    whole.add_constant(bytes(before) + FIELD_1)
    whole.add_varints((np.sum([entry.lengths for entry in entries], axis=0) + tail_lengths)[:, None])
    for entry in entries:
        whole.add(entry)
    return whole.selected()


def encode_entries(columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Some features of R records, in the form that they have within a record; result as in encode_examples."""
    whole = _Layout(len(next(iter(columns.values()))))
    for name, values in columns.items():
        whole.add(_entry(name.encode("utf-8"), values))
    return whole.selected()


def encode_values(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """values [R, V]: only their varints, R times V of them; result as in encode_examples."""
    whole = _Layout(len(values))
    whole.add_varints(values)
    return whole.selected()


def example_of(payloads: Mapping[str, bytes]) -> bytes:
    """One record from the varints of each feature, for records too large to be laid out side by side."""
    return _field(FIELD_1, b"".join(_entry_of(name.encode("utf-8"), payload) for name, payload in payloads.items()))


def _entry_of(name: bytes, payload: bytes) -> bytes:
    int64_list = _field(FIELD_1, payload)
    feature = _field(FIELD_3, int64_list)
    return _field(FIELD_1, _field(FIELD_1, name) + _field(FIELD_2, feature))


def _field(header: bytes, content: bytes) -> bytes:
    return header + _varint(len(content)) + content


def _entry(name: bytes, values: np.ndarray) -> _Layout:
    """<0A, length, Entry> of one feature."""
    named = _field(FIELD_1, name)
    payload = _Layout(len(values))
    payload.add_varints(values)
    int64_list = 1 + _width(payload.lengths) + payload.lengths
    feature = 1 + _width(int64_list) + int64_list
    body = len(named) + 1 + _width(feature) + feature
    layout = _Layout(len(values))
    for header, length in (
        (FIELD_1, body),
        (named + FIELD_2, feature),
        (FIELD_3, int64_list),
        (FIELD_1, payload.lengths),
    ):
        layout.add_constant(header)
        layout.add_varints(length[:, None])
    layout.add(payload)
    return layout


def _width(values: np.ndarray) -> np.ndarray:
    """Bytes of each value's varint."""
    largest = int(values.max(initial=0))
    width = np.ones(len(values), np.int64)
    for bits in range(7, largest.bit_length(), 7):
        width += values >> bits > 0
    return width


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
        self._parts: list[tuple[np.ndarray, np.ndarray | None]] = []  # bytes [R, n] or [n], which of them count

    def add_constant(self, text: bytes) -> None:
        self._add_all(np.frombuffer(text, dtype=np.uint8))

    def add_varints(self, values: np.ndarray) -> None:
        """values [R, V]: V varints for each record."""
        negative = values.dtype.kind == "i" and values.min(initial=0) < 0
        largest = 2**64 - 1 if negative else int(values.max(initial=0))
        if largest < 2**7:
            self._add_all(values.astype(np.uint8))
        elif int(values.min(initial=2**7)) >= 2**7 and largest < 2**14:
            self._add_all(_both_bytes(values.astype("<u2"), np.uint16(1)))
        elif largest < 2**14:
            self._add_pairs(values.astype("<u2"))
        else:
            self._add_places(values.astype(np.min_scalar_type(largest)), -(-largest.bit_length() // 7))

    def add(self, other: _Layout) -> None:
        self._parts += other._parts
        self.lengths += other.lengths

    def selected(self) -> tuple[np.ndarray, np.ndarray]:
        """The bytes that count, row after row; ends [R] of each row."""
        shape = len(self.lengths), sum(chosen.shape[-1] for chosen, _ in self._parts)
        all_chosen, all_used = np.empty(shape, np.uint8), np.ones(shape, bool)
        start = 0
        for chosen, used in self._parts:
            stop = start + chosen.shape[-1]
            all_chosen[:, start:stop] = chosen
            if used is not None:
                all_used[:, start:stop] = used
            start = stop
        return all_chosen[all_used], np.cumsum(self.lengths)

    def _add_all(self, chosen: np.ndarray) -> None:
        self._parts.append((chosen, None))
        self.lengths += chosen.shape[-1]

    def _add_pairs(self, values: np.ndarray) -> None:
        """The commonest case in fewer steps: both bytes of a varint are worked out as one number."""
        more = (values > 0x7F).astype("<u2")
        used = (more << 8) | 1
        self._parts.append((_both_bytes(values, more), used.view(np.bool_)))
        self.lengths += values.shape[1] + more.sum(axis=1, dtype=np.int64)

    def _add_places(self, rest: np.ndarray, width: int) -> None:
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
        rows = len(rest)
        self._parts.append((chosen.reshape(rows, -1), used.reshape(rows, -1)))
        self.lengths += np.count_nonzero(used.reshape(rows, -1), axis=1)


def _both_bytes(values: np.ndarray, more: np.ndarray | np.uint16) -> np.ndarray:
    """values [R, V] below 2^14, little-endian uint16; more: 1 where there is a second byte -> [R, 2 V] uint8."""
    pairs = (values & 0x7F) | (values >> 7 << 8) | (more << 7)
    return pairs.astype("<u2", copy=False).view(np.uint8)
