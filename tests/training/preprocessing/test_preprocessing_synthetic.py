"""The synthetic shop: the same bytes for a seed, the form of the raw files, and something to learn."""

from __future__ import annotations

import ast
import gzip
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.errors import DataError
from training.preprocessing.synthetic import GenerateOptions, generate_dataset
from training.preprocessing.synthetic_shop import Deck


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("shop") / "raw"
    generate_dataset(GenerateOptions(output, users=300, items=400, categories=12))
    return output


def reviews_of(folder: Path) -> list[dict[str, Any]]:
    with gzip.open(folder / "reviews_Synthetic.json.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def metadata_of(folder: Path) -> dict[str, dict[str, Any]]:
    with gzip.open(folder / "meta_Synthetic.json.gz", "rt") as lines:
        items = [ast.literal_eval(line) for line in lines]
    return {item["asin"]: item for item in items}


def test_the_same_seed_gives_the_same_bytes(shop: Path, tmp_path: Path) -> None:
    generate_dataset(GenerateOptions(tmp_path / "again", users=300, items=400, categories=12))
    generate_dataset(GenerateOptions(tmp_path / "other", users=300, items=400, categories=12, seed=1))
    for name in ("reviews_Synthetic.json.gz", "meta_Synthetic.json.gz"):
        content = (shop / name).read_bytes()
        assert content == (tmp_path / "again" / name).read_bytes()
        assert content != (tmp_path / "other" / name).read_bytes()


def test_reviews_have_the_raw_form(shop: Path) -> None:
    reviews = reviews_of(shop)
    assert all(list(r) == ["reviewerID", "asin", "overall", "unixReviewTime"] for r in reviews)
    assert all(type(r["unixReviewTime"]) is int for r in reviews)
    assert len({r["reviewerID"] for r in reviews}) == 300
    assert 20 < len(reviews) / 300 < 40
    users = [r["reviewerID"] for r in reviews]
    assert users != sorted(users)


def test_metadata_has_gaps_quotes_and_several_paths(shop: Path) -> None:
    metadata = metadata_of(shop)
    assert 380 < len(metadata) < 400
    assert any("categories" not in item for item in metadata.values())
    assert any(len(item.get("categories", ())) == 2 for item in metadata.values())
    titles = "".join(item.get("title", "") for item in metadata.values())
    assert '"' in titles
    assert "'" in titles


def test_nobody_meets_an_item_twice_and_all_items_turn_up(shop: Path) -> None:
    pairs = [(r["reviewerID"], r["asin"]) for r in reviews_of(shop)]
    assert len(set(pairs)) == len(pairs)
    assert len({asin for _, asin in pairs}) == 400


def test_popularity_has_a_long_tail(shop: Path) -> None:
    counts = np.sort(np.array(list(Counter(r["asin"] for r in reviews_of(shop)).values())))[::-1]
    assert counts[:40].sum() > 0.2 * counts.sum()  # a tenth of the items, far more than a tenth of the reviews


def test_users_keep_to_few_categories(shop: Path) -> None:
    """The share of a user's commonest three categories, against the same for everybody together."""
    category = {a: m["categories"][0][-1] for a, m in metadata_of(shop).items() if "categories" in m}
    by_user: dict[str, Counter] = defaultdict(Counter)
    for review in reviews_of(shop):
        by_user[review["reviewerID"]][category.get(review["asin"], "")] += 1
    everybody: Counter = sum(by_user.values(), Counter())

    def share(counts: Counter) -> float:
        return sum(n for _, n in counts.most_common(3)) / counts.total()

    assert np.mean([share(c) for c in by_user.values()]) > share(everybody) + 0.2


def test_some_things_happen_in_the_same_second(shop: Path) -> None:
    times = Counter((r["reviewerID"], r["unixReviewTime"]) for r in reviews_of(shop))
    assert max(times.values()) > 1


def test_the_deck_deals_every_card_before_any_again() -> None:
    deck = Deck(10, np.random.default_rng(0))
    dealt = np.concatenate([deck.deal(n) for n in (3, 0, 4, 13)])
    assert sorted(dealt[:10]) == sorted(dealt[10:]) == list(range(10))


def test_impossible_wishes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="categories: got 5, expected at most as many as items"):
        generate_dataset(GenerateOptions(tmp_path / "raw", items=4, categories=5))
    with pytest.raises(DataError, match="name: got 'a/b'"):
        generate_dataset(GenerateOptions(tmp_path / "raw", name="a/b"))
    assert list(tmp_path.iterdir()) == []
