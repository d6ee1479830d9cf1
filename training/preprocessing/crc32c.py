"""The checksum of TFRecord files, CRC-32C, of many messages at once.

A CRC is linear over GF(2): what a byte adds depends only on its value and on the number k of bytes behind it. So with
a table of [k, byte], a short message's remainder is the exclusive or of one lookup per byte, and that of two messages
in a row is the first one's, moved by as many zero bytes as the second has, combined with the second one's. Remainders
here start from 0; `finished` adds what the standard's start and end values do.
"""

from __future__ import annotations

from functools import cache

import numpy as np

POLYNOMIAL = 0x82F63B78  # reflected
ONES = 0xFFFFFFFF
MASK_DELTA = 0xA282EAD8  # TFRecord's: a file may hold checksums of other files
LONGEST_SHORT = 8192
CACHED_BYTES = 1 << 16  # of messages at once, so that what is made of them stays in the cache
PIECE = 1024  # bytes; longer messages are cut into these


def short_remainders(flat: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """flat: messages behind one another, uint8, each of 1..LONGEST_SHORT bytes; ends [R] of each -> [R] uint32."""
    lengths = np.diff(ends, prepend=0)
    longest = int(lengths.max(initial=1))
    table = _table(longest).reshape(-1)
    at_once = max(1, CACHED_BYTES // longest)
    result = np.empty(len(ends), np.uint32)
    for first in range(0, len(ends), at_once):
        part = slice(first, first + at_once)
        start = ends[first] - lengths[first]
        stop = ends[part][-1]
        places = np.repeat((ends[part] - start - 1).astype(np.int32), lengths[part])
        places -= np.arange(stop - start, dtype=np.int32)
        places <<= 8
        places |= flat[start:stop]
        result[part] = np.bitwise_xor.reduceat(np.take(table, places), ends[part] - lengths[part] - start)
    return result


def moved(remainders: np.ndarray, by: np.ndarray) -> np.ndarray:
    """[R]: each remainder as if `by` [R] zero bytes, 4..LONGEST_SHORT, came behind its message."""
    table = _table(int(by.max(initial=4)))
    result = np.zeros(len(remainders), np.uint32)
    for place in range(4):
        result ^= table[by - 1 - place, (remainders >> np.uint32(8 * place)) & np.uint32(0xFF)]
    return result


def finished(remainders: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """[R] remainders of messages of these lengths -> TFRecord's masked CRC-32C of them."""
    return _masked(remainders ^ moved(np.full(len(remainders), ONES, np.uint32), lengths) ^ np.uint32(ONES))


def long_checksum(message: bytes) -> int:
    """TFRecord's masked CRC-32C of one message of any length."""
    pieces = 1 << max(0, -(-len(message) // PIECE) - 1).bit_length()
    padded = np.zeros(pieces * PIECE, np.uint8)  # zeros before a message add nothing
    padded[len(padded) - len(message) :] = np.frombuffer(message, np.uint8)
    table = np.ascontiguousarray(_table(PIECE)[PIECE - 1 :: -1]).reshape(-1)
    places = np.arange(PIECE, dtype=np.int32) << 8
    remainders = np.concatenate(
        [
            np.bitwise_xor.reduce(
                np.take(table, places | padded[start : start + 64 * PIECE].reshape(-1, PIECE)), axis=1
            )
            for start in range(0, len(padded), 64 * PIECE)
        ]
    )
    level = 0
    while len(remainders) > 1:
        remainders = _apply(_zeros(level), remainders[0::2]) ^ remainders[1::2]
        level += 1
    start = _apply_zeros(np.array([ONES], np.uint32), len(message))
    return int(_masked(remainders ^ start ^ np.uint32(ONES))[0])


def _masked(crc: np.ndarray) -> np.ndarray:
    rotated = (crc >> np.uint32(15)) | (crc << np.uint32(17))
    return (rotated.astype(np.uint64) + np.uint64(MASK_DELTA)).astype(np.uint32)


_rows = np.zeros((0, 256), np.uint32)


def _table(length: int) -> np.ndarray:
    """[K >= length, 256] uint32: what a byte adds that has k bytes behind it."""
    global _rows  # noqa: PLW0603 - grows with the longest message so far
    if len(_rows) < length:
        rows = np.empty((1 << (length - 1).bit_length(), 256), np.uint32)
        crc = np.arange(256, dtype=np.uint32)
        for _ in range(8):
            crc = (crc >> np.uint32(1)) ^ (np.uint32(POLYNOMIAL) * (crc & np.uint32(1)))
        rows[0] = crc
        for k in range(1, len(rows)):
            rows[k] = rows[0][rows[k - 1] & np.uint32(0xFF)] ^ (rows[k - 1] >> np.uint32(8))
        _rows = rows
    return _rows


def _apply(operator: np.ndarray, remainders: np.ndarray) -> np.ndarray:
    """operator [4, 256]: what each byte of a remainder becomes."""
    result = np.zeros(len(remainders), np.uint32)
    for place in range(4):
        result ^= operator[place, (remainders >> np.uint32(8 * place)) & np.uint32(0xFF)]
    return result


@cache
def _zeros(level: int) -> np.ndarray:
    """The operator of PIECE · 2^level zero bytes; level may be negative, down to single bytes at -10."""
    if level == -PIECE.bit_length() + 1:
        one = np.arange(256, dtype=np.uint32)[None, :] << (np.uint32(8) * np.arange(4, dtype=np.uint32)[:, None])
        shifted: np.ndarray = _table(1)[0][one & np.uint32(0xFF)] ^ (one >> np.uint32(8))
        return shifted
    half = _zeros(level - 1)
    return _apply(half, half.reshape(-1)).reshape(4, 256)


def _apply_zeros(remainders: np.ndarray, count: int) -> np.ndarray:
    for bit in range(count.bit_length()):
        if count >> bit & 1:
            remainders = _apply(_zeros(bit - PIECE.bit_length() + 1), remainders)
    return remainders
