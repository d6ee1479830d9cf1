"""CRC-32C (Castagnoli), masked as TFRecord files store it. In numpy: a record needs no Python loop over its bytes.

A CRC is linear: the checksum of a block is the XOR over its bytes of a table entry for (distance to the block's end,
byte), and what was computed so far enters by XOR into the block's first four bytes.
"""

from __future__ import annotations

import functools

import numpy as np

POLYNOMIAL = np.uint32(0x82F63B78)  # bit-reversed 0x1EDC6F41
BLOCK_BYTES = 4096
MASK_DELTA = 0xA282EAD8


def masked_crc32c(data: bytes) -> int:
    """The checksum as a TFRecord file stores it: rotated by 15 bits, plus a constant."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + MASK_DELTA) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    tables = _tables()
    state = 0xFFFFFFFF
    whole = np.frombuffer(data, np.uint8)
    for start in range(0, len(whole), BLOCK_BYTES):
        block = whole[start : start + BLOCK_BYTES]
        if len(block) < 4:
            state = _bytewise(state, block.tobytes())
            continue
        mixed = block.copy()
        mixed[:4] ^= np.frombuffer(state.to_bytes(4, "little"), np.uint8)
        places = _places()[BLOCK_BYTES - len(mixed) :]
        state = int(np.bitwise_xor.reduce(tables[places + mixed]))
    return state ^ 0xFFFFFFFF


def _bytewise(state: int, data: bytes) -> int:
    one_byte = _tables()[:256]
    for byte in data:
        state = (state >> 8) ^ int(one_byte[(state ^ byte) & 0xFF])
    return state


@functools.cache
def _places() -> np.ndarray:
    """[BLOCK_BYTES]: where the table of each byte of a full block begins; the last byte has distance 0."""
    return np.arange(BLOCK_BYTES - 1, -1, -1, dtype=np.int32) * 256


@functools.cache
def _tables() -> np.ndarray:
    """[BLOCK_BYTES * 256], flat: entry 256 d + b is the checksum of byte b followed by d zero bytes."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> np.uint32(1)) ^ POLYNOMIAL, table >> np.uint32(1))
    tables = np.empty((BLOCK_BYTES, 256), np.uint32)
    tables[0] = table
    for distance in range(1, BLOCK_BYTES):
        before = tables[distance - 1]
        tables[distance] = (before >> np.uint32(8)) ^ table[before & np.uint32(0xFF)]
    return tables.reshape(-1)
