"""Sampled negatives: items that a user had not touched up to a moment, drawn for many rows at once."""

from __future__ import annotations

import numpy as np

from training.errors import DataError
from training.preprocessing.interactions import Interactions

METHODS = ("uniform", "popularity")
ROUNDS = 20  # of drawing again what was seen, before the remaining items are listed one by one
SLOTS_PER_INTERACTION = 8
HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, with bits spread evenly: multiplicative hashing


class NegativeSampler:
    """Draws from all items alike ("uniform") or from the list of interactions ("popularity").

    A draw belongs to a position p of `interactions.items`: the row whose target is items[p]. It is never that
    target, nor any earlier item of the same user. Where a user has seen every item, any item but the target is
    drawn; `seen_everything` counts these.
    """

    def __init__(self, interactions: Interactions, method: str) -> None:
        if method not in METHODS:
            raise ValueError(f"method: got {method!r}, expected one of {', '.join(METHODS)}")
        if interactions.item_count < 2:
            raise DataError("negatives need at least two items, but only one remains. Add data or keep more users.")
        self._items, self._item_count = interactions.items, interactions.item_count
        self._offsets, self._method = interactions.offsets, method
        users = np.repeat(np.arange(interactions.users, dtype=np.int64), np.diff(interactions.offsets))
        # a key per (user, item) and where it occurs first; the hashed slots answer most questions without a search
        self._keys, self._first = np.unique(users * (self._item_count + 1) + self._items, return_index=True)
        slots = 1 << int(len(self._keys) * SLOTS_PER_INTERACTION).bit_length()
        self._shift = np.uint64(64 - slots.bit_length() + 1)
        self._slots = np.zeros(slots, dtype=bool)
        self._slots[self._slot(self._keys)] = True
        self.seen_everything = 0

    def draw(self, positions: np.ndarray, rng: np.random.Generator, counts: np.ndarray | None = None) -> np.ndarray:
        """positions [P] of the rows' targets -> items [M] int32: counts [P] for each of them, one unless given."""
        users = np.searchsorted(self._offsets, positions, side="right") - 1
        if counts is not None:
            users, positions = np.repeat(users, counts), np.repeat(positions, counts)
        drawn = self._draw(len(positions), rng)
        todo = np.flatnonzero(self._seen(users, drawn, positions))
        for _ in range(ROUNDS):
            if len(todo) == 0:
                return drawn
            again = self._draw(len(todo), rng)
            drawn[todo] = again
            todo = todo[self._seen(users[todo], again, positions[todo])]
        self._draw_from_rest(drawn, todo, users, positions, rng)
        return drawn

    def _draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        if self._method == "uniform":
            return rng.integers(1, self._item_count + 1, count, dtype=np.int32)
        drawn: np.ndarray = self._items[rng.integers(0, len(self._items), count)]
        return drawn

    def _seen(self, users: np.ndarray, items: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """[M] bool: had the user touched the item at the position or before?"""
        keys = users * (self._item_count + 1) + items
        seen: np.ndarray = self._slots[self._slot(keys)]
        maybe = np.flatnonzero(seen)
        place = np.minimum(np.searchsorted(self._keys, keys[maybe]), len(self._keys) - 1)
        seen[maybe] = (self._keys[place] == keys[maybe]) & (self._first[place] <= positions[maybe])
        return seen

    def _slot(self, keys: np.ndarray) -> np.ndarray:
        slot: np.ndarray = (keys.astype(np.uint64) * HASH_FACTOR) >> self._shift
        return slot

    def _draw_from_rest(
        self, drawn: np.ndarray, todo: np.ndarray, users: np.ndarray, positions: np.ndarray, rng: np.random.Generator
    ) -> None:
        """For the few rows whose users have seen nearly everything: uniformly from what they have not seen."""
        rows, groups = np.unique(positions[todo], return_inverse=True)
        for group, position in enumerate(rows):
            members = todo[groups == group]
            start = self._offsets[users[members[0]]]
            unseen = np.ones(self._item_count + 1, dtype=bool)
            unseen[0] = False
            unseen[self._items[start : position + 1]] = False
            if not unseen.any():
                self.seen_everything += len(members)
                unseen[1:] = True
                unseen[self._items[position]] = False
            drawn[members] = rng.choice(np.flatnonzero(unseen), len(members))
