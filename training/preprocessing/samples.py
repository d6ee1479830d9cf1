"""Interactions -> rows for training and testing: which there are, in what order, and their values block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from training.preprocessing.interactions import Interactions
from training.preprocessing.negatives import NegativeSampler

TRAIN, VALIDATION, TEST = "train", "validation", "test"
ROWS_PER_GROUP = 2  # a positive row and its negative: one history, one sampled negative history, two targets
GROUPS_PER_BLOCK = 8192  # histories of 100 make about 30 MB of columns
_STREAM = {TRAIN: 1, TEST: 2, VALIDATION: 4}  # keeps the random numbers of the splits, and of the order, apart
_ORDER_STREAM = 3


@dataclass(frozen=True)
class SampleRules:
    """max_sequence_length T: items of history per row, the newest. shortest_sequence_for_training: least history of a
    training row. prefixes_per_user: only the last so many training prefixes; 0: all. validation_split: the last
    training prefix of each user is for validation. timestamps: rows carry times."""

    max_sequence_length: int = 100
    shortest_sequence_for_training: int = 1
    prefixes_per_user: int = 0
    seed: int = 12345
    validation_split: bool = False
    timestamps: bool = False

    @property
    def splits(self) -> tuple[str, ...]:
        return (TRAIN, VALIDATION, TEST) if self.validation_split else (TRAIN, TEST)


@dataclass(frozen=True)
class RaggedRows:
    """A block of B rows. offsets [B + 1]: row b has pos/neg items offsets[b]:offsets[b + 1], oldest first.

    target_time_s [B] and positive_time_s (cut like positive): None without time stamps.
    """

    label: np.ndarray
    user: np.ndarray
    target: np.ndarray
    offsets: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    target_time_s: np.ndarray | None = None
    positive_time_s: np.ndarray | None = None


def target_positions(interactions: Interactions, split: str, rules: SampleRules) -> np.ndarray:
    """[P] positions in interactions.items of the targets of the positive rows, by user and time.

    test: the last item of each user. train: each earlier item that has enough history before it. validation: the
    last of these, which train then lacks.
    """
    last = interactions.offsets[1:] - 1
    if split == TEST:
        return np.asarray(last)
    first = interactions.offsets[:-1] + rules.shortest_sequence_for_training
    if rules.prefixes_per_user:
        first = np.maximum(first, last - rules.prefixes_per_user)
    if split == VALIDATION:
        return np.asarray(last[last > first] - 1)
    counts = np.maximum(last - first - int(rules.validation_split), 0)
    return _ranges(first, counts)


def blocks(
    interactions: Interactions, split: str, rules: SampleRules, sampler: NegativeSampler
) -> Iterator[RaggedRows]:
    """All rows of a split, a positive and its negative after one another; train is shuffled as a whole by such groups.

    The same seed gives the same rows, however they are cut into files later.
    """
    positions = target_positions(interactions, split, rules)
    if split == TRAIN:
        np.random.default_rng([rules.seed, _ORDER_STREAM]).shuffle(positions)
    for number, start in enumerate(range(0, len(positions), GROUPS_PER_BLOCK)):
        rng = np.random.default_rng([rules.seed, _STREAM[split], number])
        yield _block(interactions, positions[start : start + GROUPS_PER_BLOCK], rules, sampler, rng)


def _block(
    interactions: Interactions,
    positions: np.ndarray,
    rules: SampleRules,
    sampler: NegativeSampler,
    rng: np.random.Generator,
) -> RaggedRows:
    user = np.searchsorted(interactions.offsets, positions, side="right")
    lengths = np.minimum(positions - interactions.offsets[user - 1], rules.max_sequence_length)
    targets = np.stack([interactions.items[positions], sampler.draw(positions, rng)], axis=1)
    negative = sampler.draw(positions, rng, lengths)
    twice = np.repeat(lengths, ROWS_PER_GROUP)
    history = _ranges(np.repeat(positions - lengths, ROWS_PER_GROUP), twice)
    times = interactions.times_s if rules.timestamps else None
    return RaggedRows(
        label=np.tile(np.array([1, 0], np.int8), len(positions)),
        user=np.repeat(user.astype(np.int32), ROWS_PER_GROUP),
        target=targets.reshape(-1),
        offsets=np.concatenate(([0], np.cumsum(twice))).astype(np.int32),
        positive=interactions.items[history],
        negative=negative[_ranges(np.repeat(np.cumsum(lengths) - lengths, ROWS_PER_GROUP), twice)],
        target_time_s=None if times is None else np.repeat(times[positions], ROWS_PER_GROUP),
        positive_time_s=None if times is None else times[history],
    )


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """starts[0], starts[0] + 1, … counts[0] numbers, then those of starts[1], …"""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    numbers: np.ndarray = np.arange(total) + np.repeat(starts - (ends - counts), counts)
    return numbers
