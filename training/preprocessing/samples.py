"""Interactions -> rows for training and testing: which there are, in what order, and their values block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from training.preprocessing.interactions import Interactions
from training.preprocessing.negatives import NegativeSampler

TRAIN, TEST = "train", "test"
ROWS_PER_BLOCK = 16384  # histories of 100 make about 30 MB of columns
_STREAM = {TRAIN: 1, TEST: 2}  # keeps the random numbers of the splits, and of the order, apart
_ORDER_STREAM = 3


@dataclass(frozen=True)
class SampleRules:
    """max_sequence_length T: items of history per row, the newest. shortest_sequence_for_training: least history of a
    training row. prefixes_per_user: only the last so many training prefixes; 0: all."""

    max_sequence_length: int = 100
    shortest_sequence_for_training: int = 1
    prefixes_per_user: int = 0
    seed: int = 12345


@dataclass(frozen=True)
class RaggedRows:
    """A block of B rows. offsets [B + 1]: row b has pos/neg items offsets[b]:offsets[b + 1], oldest first."""

    label: np.ndarray
    user: np.ndarray
    target: np.ndarray
    offsets: np.ndarray
    positive: np.ndarray
    negative: np.ndarray


def target_positions(interactions: Interactions, split: str, rules: SampleRules) -> np.ndarray:
    """[P] positions in interactions.items of the targets of the positive rows, by user and time.

    test: the last item of each user. train: each earlier item that has enough history before it.
    """
    last = interactions.offsets[1:] - 1
    if split == TEST:
        return np.asarray(last)
    first = interactions.offsets[:-1] + rules.shortest_sequence_for_training
    if rules.prefixes_per_user:
        first = np.maximum(first, last - rules.prefixes_per_user)
    counts = np.maximum(last - first, 0)
    return _ranges(first, counts)


def row_order(split: str, positives: int, seed: int) -> np.ndarray:
    """[2 P] row numbers in the order of writing: even = positive, odd = its negative. Train is shuffled as a whole."""
    order = np.arange(2 * positives, dtype=np.int32 if 2 * positives < 2**31 else np.int64)
    if split == TRAIN:
        np.random.default_rng([seed, _ORDER_STREAM]).shuffle(order)
    return order


def blocks(
    interactions: Interactions, split: str, rules: SampleRules, sampler: NegativeSampler
) -> Iterator[RaggedRows]:
    """All rows of a split. The same seed gives the same rows, however they are cut into files later."""
    positions = target_positions(interactions, split, rules)
    order = row_order(split, len(positions), rules.seed)
    for number, start in enumerate(range(0, len(order), ROWS_PER_BLOCK)):
        rows = order[start : start + ROWS_PER_BLOCK]
        rng = np.random.default_rng([rules.seed, _STREAM[split], number])
        yield _block(interactions, positions[rows // 2], rows % 2 == 0, rules.max_sequence_length, sampler, rng)


def _block(
    interactions: Interactions,
    positions: np.ndarray,
    is_positive: np.ndarray,
    max_length: int,
    sampler: NegativeSampler,
    rng: np.random.Generator,
) -> RaggedRows:
    user = np.searchsorted(interactions.offsets, positions, side="right")
    lengths = np.minimum(positions - interactions.offsets[user - 1], max_length)
    negative_target = sampler.draw(positions, rng)
    return RaggedRows(
        label=is_positive.astype(np.int8),
        user=user.astype(np.int32),
        target=np.where(is_positive, interactions.items[positions], negative_target),
        offsets=np.concatenate(([0], np.cumsum(lengths))).astype(np.int32),
        positive=interactions.items[_ranges(positions - lengths, lengths)],
        negative=sampler.draw(np.repeat(positions, lengths), rng),
    )


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """starts[0], starts[0] + 1, … counts[0] numbers, then those of starts[1], …"""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    numbers: np.ndarray = np.arange(total) + np.repeat(starts - (ends - counts), counts)
    return numbers
