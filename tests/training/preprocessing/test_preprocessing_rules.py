"""The rules of preprocessing, on raw files small enough to work out by hand."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from training.errors import DataError
from training.preprocessing.amazon_dataset import PreprocessOptions, PreprocessResult, preprocess_amazon
from training.preprocessing.samples import SampleRules

COLUMNS = [
    "label", "user_id", "item_id_trgt", "cat_id_trgt", "item_id_pos", "cat_id_pos", "item_id_neg", "cat_id_neg",
]  # fmt: skip
REVIEWS = [
    ("U-c", "i1", 1), ("U-c", "i7", 2),  # too few: dropped, and i7 with it
    ("U-b", "i6", 3), ("U-b", "i1", 2), ("U-b", "i5", 1),
    ("U-a", "i4", 30), ("U-a", "i3", 20), ("U-a", "i1", 10), ("U-a", "i2", 20),  # i2 and i3 at the same time
]  # fmt: skip
METADATA = [
    {"asin": "i1", "categories": [["All", "Games"], ["All", "Other"]]},
    {"asin": "i2", "categories": [["All", "Dolls"]]},
    {"asin": "i4", "categories": [[]]},
    {"asin": "i5", "categories": [["Games"]]},
    {"asin": "i1", "categories": [["All", "Second line of the same item"]]},
    {"asin": "i6", "title": "no categories"},
    {"asin": "i7", "categories": [["All", "Only of a dropped item"]]},
    {"asin": "i9", "categories": [["All", "Never reviewed"]]},
]
# Users: U-a 1, U-b 2. Items i1..i6: 1..6. Categories: Dolls 1, Games 2, no_category 3.
CATEGORY_OF = {1: 2, 2: 1, 3: 3, 4: 3, 5: 2, 6: 3}
POSITIVE_ROWS = {  # (user, target, history), by hand
    "train": [(1, 2, (1,)), (1, 3, (1, 2)), (2, 1, (5,))],
    "test": [(1, 4, (1, 2, 3)), (2, 6, (5, 1))],
}

Run = Callable[..., tuple[PreprocessResult, Path]]


@pytest.fixture
def run(tmp_path: Path, write_raw: Callable[..., Path]) -> Run:
    def run_on(reviews: Any = REVIEWS, metadata: Any = METADATA, packed: bool = True, **options: Any) -> Any:
        raw = write_raw(tmp_path / "raw", reviews, metadata, packed)
        rule_names = [rule.name for rule in dataclasses.fields(SampleRules)]
        rules = SampleRules(**{n: options.pop(n) for n in rule_names if n in options})
        options = {"shortest_sequence_for_user": 3, "rules": rules, **options}
        output = tmp_path / options.pop("output_path", "parquet")
        return preprocess_amazon(PreprocessOptions(raw, output, **options)), output

    return run_on


def positives(rows: list[dict[str, Any]]) -> list[tuple[int, int, tuple[int, ...]]]:
    return [(r["user_id"], r["item_id_trgt"], tuple(r["item_id_pos"])) for r in rows if r["label"] == 1]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("split", ["train", "test"])
def test_rows_are_those_of_the_table_by_hand(run: Run, read_parquet: Callable, packed: bool, split: str) -> None:
    _, output = run(packed=packed)
    rows = read_parquet(output, split)
    assert sorted(positives(rows)) == POSITIVE_ROWS[split]
    assert sorted((r["user_id"], tuple(r["item_id_pos"])) for r in rows if r["label"] == 0) == sorted(
        (user, history) for user, _, history in POSITIVE_ROWS[split]
    )
    seen = {(user, history): {target, *history} for user, target, history in POSITIVE_ROWS[split]}
    for row in rows:
        assert list(row) == COLUMNS
        assert row["cat_id_trgt"] == CATEGORY_OF[row["item_id_trgt"]]
        for kind in ("pos", "neg"):
            assert row[f"cat_id_{kind}"] == [CATEGORY_OF[i] for i in row[f"item_id_{kind}"]]
        forbidden = seen[row["user_id"], tuple(row["item_id_pos"])]
        assert len(row["item_id_neg"]) == len(row["item_id_pos"])
        assert not forbidden & set(row["item_id_neg"])
        assert row["label"] == 1 or row["item_id_trgt"] not in forbidden


def test_metadata_json_is_the_seeds_and_says_how_rows_belong_together(run: Run) -> None:
    _, output = run()
    assert json.loads((output / "metadata.json").read_text()) == {
        "cardinalities": [{"name": "uid", "value": 2}, {"name": "item", "value": 6}, {"name": "cat", "value": 3}],
        "rows_per_group": 2,
    }
    assert sorted(p.name for p in output.iterdir()) == [".recserve", "metadata.json", "test", "train"]


def test_the_result_says_what_was_kept_and_dropped(run: Run) -> None:
    result, _ = run()
    assert (result.dropped.users, result.dropped.interactions, result.dropped.items) == (1, 2, 1)
    assert (result.dropped.duplicate_metadata, result.dropped.items_without_category) == (1, 3)
    assert result.rows == {"train": 6, "test": 4}
    text = result.describe()
    for name, value in (("users", 2), ("items", 6), ("categories", 3), ("interactions", 7), ("train rows", 6)):
        assert any(line.split() == [*name.split(), str(value)] for line in text.splitlines()), name
    assert "peak memory" in text
    assert "time: write train" in text


def test_histories_keep_the_newest(run: Run, read_parquet: Callable) -> None:
    _, output = run(max_sequence_length=2)
    assert (1, 4, (2, 3)) in positives(read_parquet(output, "test"))


def test_the_last_prefixes_only(run: Run, read_parquet: Callable) -> None:
    _, output = run(prefixes_per_user=1)
    assert sorted(positives(read_parquet(output, "train"))) == [(1, 3, (1, 2)), (2, 1, (5,))]
    assert sorted(positives(read_parquet(output, "test"))) == POSITIVE_ROWS["test"]


def test_the_shortest_history_of_a_training_row(run: Run, read_parquet: Callable) -> None:
    _, output = run(shortest_sequence_for_training=2)
    assert positives(read_parquet(output, "train")) == [(1, 3, (1, 2))]
    with pytest.raises(DataError, match="no training rows remain"):
        run(shortest_sequence_for_training=3)


def test_repeated_reviews_all_count(run: Run, read_parquet: Callable) -> None:
    reviews = [
        ("U", "i1", 1),
        ("U", "i1", 2),
        ("U", "i2", 3),
        ("U", "i1", 4),
        ("V", "i3", 1),
        ("V", "i4", 2),
        ("V", "i3", 3),
    ]
    _, output = run(reviews)
    assert sorted(positives(read_parquet(output, "train"))) == [(1, 1, (1,)), (1, 2, (1, 1)), (2, 4, (3,))]


def test_nobody_long_enough_is_an_error(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="shortest_sequence_for_user: got 5, but the longest user has 4"):
        run(shortest_sequence_for_user=5)
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]


def test_a_single_item_is_an_error(run: Run) -> None:
    with pytest.raises(DataError, match="at least two items"):
        run([("U", "i1", t) for t in range(5)])


def test_few_malformed_lines_are_reported_and_left_out(run: Run, tmp_path: Path, read_parquet: Callable) -> None:
    many = [{"asin": f"x{i}", "categories": [["X"]]} for i in range(200)]
    result, output = run(metadata=METADATA + many)
    before = read_parquet(output, "train")
    path = tmp_path / "raw" / "meta_Toys.json.gz"
    path.write_bytes(gzip.compress(b"{'asin': 'i3'\n" + gzip.decompress(path.read_bytes())))
    result = preprocess_amazon(PreprocessOptions(tmp_path / "raw", output, shortest_sequence_for_user=3))
    assert read_parquet(output, "train") == before
    assert f"{path}, line 1: neither a Python literal" in result.describe()
    assert any(line.split()[-1] == "1" for line in result.describe().splitlines() if "malformed lines of meta" in line)


def test_too_many_malformed_lines_leave_nothing_behind(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 of 10 lines are malformed") as error:
        run([*REVIEWS, ("", "i1", 1)])
    assert "reviews_Toys.json.gz, line 10: reviewerID: expected a non-empty string" in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]
    result, _ = run([*REVIEWS, ("", "i1", 1)], max_malformed_share=0.1)
    assert result.accounts[0].malformed == 1


def many_reviews(users: int = 40, each: int = 12, items: int = 60) -> list[tuple[str, str, int]]:
    return [(f"U{u:03d}", f"i{(u * 7 + n * n * 3) % items:02d}", n) for u in range(users) for n in range(each)]


def test_the_same_seed_gives_the_same_rows_however_they_are_cut(
    run: Run, tmp_path: Path, read_parquet: Callable
) -> None:
    _, one = run(many_reviews(), output_path=tmp_path / "one")
    _, again = run(many_reviews(), output_path=tmp_path / "again", rows_per_part=100)
    _, other = run(many_reviews(), output_path=tmp_path / "other", seed=1)
    rows = read_parquet(one, "train")
    assert rows == read_parquet(again, "train")
    assert read_parquet(one, "test") == read_parquet(again, "test")
    assert rows != read_parquet(other, "train")
    parts = sorted((again / "train").iterdir(), key=lambda p: int(p.name.split(".")[1]))
    assert [pq.ParquetFile(p).metadata.num_rows for p in parts] == [100] * 8  # 40 users × 10 prefixes × 2
    assert [p.name for p in parts] == [f"part.{n}.parquet" for n in range(8)]


def test_the_order_of_the_raw_lines_does_not_matter(run: Run, tmp_path: Path, read_parquet: Callable) -> None:
    _, one = run(many_reviews(), output_path=tmp_path / "one")
    _, other = run(many_reviews()[::-1], output_path=tmp_path / "other")
    assert read_parquet(one, "train") == read_parquet(other, "train")


def test_defect_16_train_rows_are_shuffled_over_the_whole_set(run: Run, read_parquet: Callable) -> None:
    _, output = run(many_reviews(), rows_per_part=100)
    users = [row["user_id"] for row in read_parquet(output, "train")][::2]
    same_as_next = sum(a == b for a, b in pairwise(users))
    assert same_as_next < len(users) * 0.1  # sorted rows have 95 %, and 1 of 40 is chance
    for start in range(0, len(users), 50):
        assert len(set(users[start : start + 50])) > 20  # of 40, in each part


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_positive_row_is_followed_by_its_negative_with_the_same_histories(
    run: Run, read_parquet: Callable, split: str
) -> None:
    """The model computes equal consecutive histories once."""
    _, output = run(many_reviews(), validation_split=True, timestamps=True, rows_per_part=101)
    rows = read_parquet(output, split)
    assert [row["label"] for row in rows] == [1, 0] * (len(rows) // 2)
    for positive, negative in zip(rows[::2], rows[1::2], strict=True):
        different = {name for name in positive if positive[name] != negative[name]}
        assert {"label", "item_id_trgt"} <= different <= {"label", "item_id_trgt", "cat_id_trgt"}
    assert any(a["item_id_neg"] != b["item_id_neg"] for a, b in pairwise(rows[::2]))


def test_the_validation_split_takes_the_last_training_prefix_of_each_user(run: Run, read_parquet: Callable) -> None:
    result, output = run(validation_split=True)
    assert positives(read_parquet(output, "train")) == [(1, 2, (1,))]
    assert positives(read_parquet(output, "validation")) == [(1, 3, (1, 2)), (2, 1, (5,))]
    assert sorted(positives(read_parquet(output, "test"))) == POSITIVE_ROWS["test"]
    assert result.rows == {"train": 2, "validation": 4, "test": 4}
    assert any(line.split() == ["validation", "rows", "4"] for line in result.describe().splitlines())


def test_without_validation_there_is_no_such_split(run: Run) -> None:
    _, output = run()
    assert not (output / "validation").exists()


def test_the_validation_split_counts_among_the_prefixes_per_user(run: Run, read_parquet: Callable) -> None:
    _, whole = run(many_reviews(), prefixes_per_user=4, output_path=Path("whole"))
    _, split = run(many_reviews(), prefixes_per_user=4, validation_split=True, output_path=Path("split"))
    train, validation = (positives(read_parquet(split, name)) for name in ("train", "validation"))
    assert (len(train), len(validation)) == (40 * 3, 40)
    assert sorted(train + validation) == sorted(positives(read_parquet(whole, "train")))


def test_time_stamps_are_those_of_the_positive_items(run: Run, read_parquet: Callable) -> None:
    _, output = run(timestamps=True)
    times = {
        "train": {(1, 2): (20, [10]), (1, 3): (20, [10, 20]), (2, 1): (2, [1])},
        "test": {(1, 4): (30, [10, 20, 20])},
    }
    for split, expected in times.items():
        rows = read_parquet(output, split)
        got = {(r["user_id"], r["item_id_trgt"]): (r["timestamp_trgt"], r["timestamp_pos"]) for r in rows[::2]}
        assert {key: got[key] for key in expected} == expected
        assert list(rows[0]) == [*COLUMNS, "timestamp_trgt", "timestamp_pos"]
        for positive, negative in zip(rows[::2], rows[1::2], strict=True):
            assert positive["timestamp_trgt"] == negative["timestamp_trgt"]
            assert positive["timestamp_pos"] == negative["timestamp_pos"]
    metadata = json.loads((output / "metadata.json").read_text())
    assert metadata["timestamps"] == {"target": "timestamp_trgt", "history": "timestamp_pos"}


def test_time_stamps_change_no_other_column(run: Run, read_parquet: Callable) -> None:
    _, without = run(many_reviews(), output_path=Path("without"))
    _, with_times = run(many_reviews(), timestamps=True, output_path=Path("with"))
    stripped = [{name: row[name] for name in COLUMNS} for row in read_parquet(with_times, "train")]
    assert stripped == read_parquet(without, "train")


def test_small_memory_limits_do_not_change_the_rows(run: Run, tmp_path: Path, read_parquet: Callable) -> None:
    _, one = run(many_reviews(), output_path=tmp_path / "one")
    _, small = run(many_reviews(), output_path=tmp_path / "small", memory_limit_mb=128)
    assert read_parquet(one, "train") == read_parquet(small, "train")
