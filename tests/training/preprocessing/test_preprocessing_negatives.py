"""Sampled negatives against what a user had really seen, looked up one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import DataError
from training.preprocessing.interactions import Interactions
from training.preprocessing.negatives import NegativeSampler


def interactions_of(users: list[list[int]], items: int) -> Interactions:
    lengths = [len(user) for user in users]
    return Interactions(
        items=np.concatenate([np.asarray(user, np.int32) for user in users]),
        offsets=np.concatenate(([0], np.cumsum(lengths))),
        category_of=np.ones(items + 1, np.int32),
        categories=1,
    )


@settings(deadline=None, max_examples=60)
@given(data=st.data(), items=st.integers(2, 30), method=st.sampled_from(["uniform", "popularity"]))
def test_never_the_target_nor_anything_seen_before_it(data: st.DataObject, items: int, method: str) -> None:
    users = data.draw(st.lists(st.lists(st.integers(1, items), min_size=1, max_size=40), min_size=1, max_size=6))
    interactions = interactions_of(users, items)
    positions = np.repeat(np.arange(len(interactions.items)), 5)
    sampler = NegativeSampler(interactions, method)
    drawn = sampler.draw(positions, np.random.default_rng(data.draw(st.integers(0, 100))))
    all_seen = 0
    for position, item in zip(positions.tolist(), drawn.tolist(), strict=True):
        start = interactions.offsets[np.searchsorted(interactions.offsets, position, side="right") - 1]
        seen = set(interactions.items[start : position + 1].tolist())
        assert 1 <= item <= items
        assert item != interactions.items[position]
        if len(seen) < items:
            assert item not in seen
        else:
            all_seen += 1
    assert sampler.seen_everything == all_seen


def test_what_a_user_meets_later_may_be_a_negative_now() -> None:
    interactions = interactions_of([[1, 2, 3]], items=3)
    drawn = NegativeSampler(interactions, "uniform").draw(np.zeros(400, np.int64), np.random.default_rng(0))
    assert set(drawn.tolist()) == {2, 3}


def test_the_last_unseen_item_is_found() -> None:
    seen = [i for i in range(1, 1001) if i != 700]
    interactions = interactions_of([seen, [700, 1]], items=1000)
    drawn = NegativeSampler(interactions, "uniform").draw(np.full(50, 998), np.random.default_rng(0))
    assert set(drawn.tolist()) == {700}


def test_who_has_seen_everything_gets_any_item_but_the_target() -> None:
    interactions = interactions_of([[1, 2, 3, 4]], items=4)
    sampler = NegativeSampler(interactions, "popularity")
    drawn = sampler.draw(np.full(200, 3), np.random.default_rng(0))
    assert set(drawn.tolist()) == {1, 2, 3}
    assert sampler.seen_everything == 200


POPULAR = [[1] * 90 + list(range(2, 12)), [12]]  # item 1 makes 89 % of the interactions


def test_defect_19_uniform_means_uniform_over_all_items() -> None:
    interactions = interactions_of(POPULAR, items=12)
    drawn = NegativeSampler(interactions, "uniform").draw(np.full(11_000, 100), np.random.default_rng(0))
    counts = np.bincount(drawn, minlength=13)[1:12]
    assert counts.sum() == 11_000  # never item 12, which is the target
    assert counts.min() > 880  # 1000 expected each, standard deviation 30
    assert counts.max() < 1120


def test_defect_19_popularity_is_the_other_method_and_excludes_history_too() -> None:
    interactions = interactions_of(POPULAR, items=12)
    sampler = NegativeSampler(interactions, "popularity")
    drawn = sampler.draw(np.full(10_000, 100), np.random.default_rng(0))
    assert np.mean(drawn == 1) == pytest.approx(0.9, abs=0.02)
    assert 1 not in sampler.draw(np.full(1000, 5), np.random.default_rng(0))  # the user of item 1


def test_the_same_random_numbers_give_the_same_negatives() -> None:
    interactions = interactions_of(POPULAR, items=12)
    first, second = (
        NegativeSampler(interactions, "uniform").draw(np.arange(101), np.random.default_rng(7)) for _ in range(2)
    )
    assert first.tolist() == second.tolist()


def test_unknown_methods_and_lonely_items_are_refused() -> None:
    with pytest.raises(ValueError, match="expected one of uniform, popularity"):
        NegativeSampler(interactions_of([[1, 2]], items=2), "random")
    with pytest.raises(DataError, match="at least two items"):
        NegativeSampler(interactions_of([[1, 1]], items=1), "uniform")
