"""Who buys what in the synthetic shop: a world with something to learn in it.

Items belong to categories; popularity within a category, and of the categories, has a long tail. A user has a few
favourite categories, which drift: now and then one is replaced. Most interactions are with an item of a favourite;
the others are dealt from a deck of all items, so that every item turns up once there are enough of them. Nobody
meets an item twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FAVOURITES = 3
DRIFT = 0.03  # chance per interaction that a favourite category is replaced
EXPLORATION = 0.2  # share of interactions with an item from the deck
ITEM_TAIL, CATEGORY_TAIL = 2.5, 1.5  # rank = count × (uniform number)^tail: the higher, the longer the tail
SAME_SECOND = 0.05  # share of interactions at the same time as the one before
START_S, SPAN_S = 1_000_000_000, 300_000_000  # when users begin: September 2001, and 9.5 years on
MEAN_GAP_S = 5 * 86_400


@dataclass(frozen=True)
class Shop:
    """Items 0..I-1 lie by category: category c has items starts[c]:starts[c + 1], the most popular first."""

    starts: np.ndarray

    @classmethod
    def open(cls, items: int, categories: int, rng: np.random.Generator) -> Shop:
        """Categories of different sizes, each with an item at least."""
        sizes = 1 + rng.multinomial(items - categories, rng.dirichlet(np.full(categories, 3.0)))
        return cls(np.concatenate(([0], np.cumsum(sizes))))

    @property
    def categories(self) -> int:
        return len(self.starts) - 1

    @property
    def items(self) -> int:
        return int(self.starts[-1])

    def pick_categories(self, shape: int | tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        picked: np.ndarray = (self.categories * rng.random(shape) ** CATEGORY_TAIL).astype(np.int64)
        return picked

    def pick_items(self, categories: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One item of each of the categories."""
        start = self.starts[categories]
        size = self.starts[categories + 1] - start
        picked: np.ndarray = start + (size * rng.random(len(categories)) ** ITEM_TAIL).astype(np.int64)
        return picked


class Deck:
    """Deals items one after another; when all have been dealt, it is shuffled and begins again."""

    def __init__(self, items: int, rng: np.random.Generator) -> None:
        self._cards, self._rng = rng.permutation(items), rng
        self._next = 0

    def deal(self, count: int) -> np.ndarray:
        dealt = [np.zeros(0, dtype=np.int64)]
        while count:
            dealt.append(self._cards[self._next : self._next + count])
            count -= len(dealt[-1])
            self._next += len(dealt[-1])
            if self._next == len(self._cards):
                self._cards, self._next = self._rng.permutation(self._cards), 0
        return np.concatenate(dealt)


@dataclass(frozen=True)
class Visits:
    """N interactions by user and then time. user and item: numbers from 0. liked: of a favourite category."""

    user: np.ndarray
    item: np.ndarray
    time_s: np.ndarray
    liked: np.ndarray


def visit(shop: Shop, users: int, mean_interactions: float, deck: Deck, rng: np.random.Generator) -> Visits:
    """What `users` users do; about mean_interactions each, less what they would have met twice."""
    lengths = np.maximum(2, rng.gamma(4.0, mean_interactions / 4.0, users).astype(np.int64))
    favourites = shop.pick_categories((users, FAVOURITES), rng)
    steps = []
    for step in range(int(lengths.max())):
        active = np.flatnonzero(lengths > step)
        drifting = active[rng.random(len(active)) < DRIFT]
        replaced = rng.integers(0, FAVOURITES, len(drifting))
        favourites[drifting, replaced] = shop.pick_categories(len(drifting), rng)
        liked = rng.random(len(active)) >= EXPLORATION
        item = shop.pick_items(favourites[active, rng.integers(0, FAVOURITES, len(active))], rng)
        item[~liked] = deck.deal(int(np.count_nonzero(~liked)))
        steps.append((active, item, liked))
    user, item, liked = (np.concatenate(parts) for parts in zip(*steps, strict=True))
    _, first = np.unique(user * shop.items + item, return_index=True)
    kept = first[np.lexsort((first, user[first]))]
    return Visits(user[kept], item[kept], _times(user[kept], users, rng), liked[kept])


def _times(user: np.ndarray, users: int, rng: np.random.Generator) -> np.ndarray:
    """Rising seconds for each user's interactions, which lie together."""
    gap_s = rng.exponential(MEAN_GAP_S, len(user)).astype(np.int64) * (rng.random(len(user)) >= SAME_SECOND)
    elapsed_s = np.cumsum(gap_s)
    first = np.searchsorted(user, user, side="left")
    times: np.ndarray = rng.integers(START_S, START_S + SPAN_S, users)[user] + elapsed_s - elapsed_s[first]
    return times
