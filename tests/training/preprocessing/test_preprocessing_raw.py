"""Raw files: what is read, what is malformed, and what is said about it."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from training.errors import DataError
from training.preprocessing.raw_amazon import (
    ItemCategory,
    Review,
    find_raw_file,
    parse_metadata,
    parse_review,
    read_metadata,
    read_reviews,
)
from training.preprocessing.raw_lines import FileAccount, UnusableLine

GOOD = b'{"reviewerID": "U1", "asin": "B1", "unixReviewTime": 10, "overall": 1.0}\n'


def test_a_review_has_user_item_and_time() -> None:
    assert parse_review(GOOD) == Review("U1", "B1", 10)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "expected a JSON object, got list"),
        (b'{"asin": "B1", "unixReviewTime": 1}', "reviewerID: expected a non-empty string, got nothing"),
        (b'{"reviewerID": "U", "asin": 5, "unixReviewTime": 1}', "asin: expected a non-empty string, got 5"),
        (b'{"reviewerID": "U", "asin": "", "unixReviewTime": 1}', "asin: expected a non-empty string, got ''"),
        (b'{"reviewerID": "\\ud800", "asin": "B", "unixReviewTime": 1}', "reviewerID: expected a non-empty string"),
        (b'{"reviewerID": "U", "asin": "B"}', "unixReviewTime: expected a whole number of seconds, got nothing"),
        (b'{"reviewerID": "U", "asin": "B", "unixReviewTime": "1"}', "unixReviewTime: expected a whole number"),
        (b'{"reviewerID": "U", "asin": "B", "unixReviewTime": 1.5}', "unixReviewTime: expected a whole number"),
        (b'{"reviewerID": "U", "asin": "B", "unixReviewTime": true}', "unixReviewTime: expected a whole number"),
        (b'{"reviewerID": "U", "asin": "B", "unixReviewTime": 1%s}' % (b"0" * 30), "outside 64 bits"),
    ],
)
def test_reviews_that_cannot_be_used_say_why(line: bytes, reason: str) -> None:
    with pytest.raises(UnusableLine) as error:
        parse_review(line)
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("line", "category"),
    [
        (b"{'asin': 'B', 'categories': [['Books', 'Poems']]}", "Poems"),
        (b"{'asin': 'B', 'categories': [['Books', 'Poems'], ['Gifts', 'Last']]}", "Poems"),
        (b"{'asin': 'B', 'title': \"It's 'quoted'\", 'categories': [['Don\\'t']]}", "Don't"),
        (b'{"asin": "B", "price": null, "sold": true, "categories": [["Books"]]}', "Books"),
        ("{'asin': 'B', 'categories': [['Bücher']]}".encode(), "Bücher"),
        (b"{'asin': 'B'}", "no_category"),
        (b"{'asin': 'B', 'categories': None}", "no_category"),
        (b"{'asin': 'B', 'categories': []}", "no_category"),
        (b"{'asin': 'B', 'categories': [[]]}", "no_category"),
        (b"{'asin': 'B', 'categories': [['']]}", "no_category"),
    ],
)
def test_the_category_is_the_last_of_the_first_path(line: bytes, category: str) -> None:
    assert parse_metadata(line) == ItemCategory("B", category)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{'asin': 'B',", "neither a Python literal"),
        (b"{'asin': __import__('os').getcwd()}", "neither a Python literal"),
        (b"\xff", "not UTF-8"),
        (b"-" * 200_000 + b"1", "literal"),
        (b"['asin']", "expected a dict, got list"),
        (b"{'categories': [['A']]}", "asin: expected a non-empty string, got nothing"),
        (b"{'asin': 'B', 'categories': 'Books'}", "categories: expected a list of lists of names, got 'Books'"),
        (b"{'asin': 'B', 'categories': ['Books']}", "categories: expected a list of lists"),
        (b"{'asin': 'B', 'categories': [[7]]}", "categories: expected a list of lists"),
    ],
)
def test_metadata_that_cannot_be_used_says_why(line: bytes, reason: str) -> None:
    with pytest.raises(UnusableLine) as error:
        parse_metadata(line)
    assert reason in str(error.value)


@pytest.mark.parametrize("packed", [True, False])
def test_lines_are_counted_and_malformed_ones_named_by_number(tmp_path: Path, packed: bool) -> None:
    text = GOOD + b"\n" + b"nonsense\n" + GOOD + b'{"asin": "B1"}\n' + GOOD.rstrip()
    path = tmp_path / ("reviews_X.json.gz" if packed else "reviews_X.json")
    path.write_bytes(gzip.compress(text) if packed else text)
    account = FileAccount(path)
    assert len(list(read_reviews(path, account))) == 3
    assert (account.lines, account.malformed) == (5, 2)
    assert [line for line, _ in account.examples] == [3, 5]
    assert account.describe()[0].startswith(f"{path}, line 3: not JSON")


def test_only_the_first_malformed_lines_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "meta_X.json"
    path.write_bytes(b"{\n" * 25)
    account = FileAccount(path)
    assert list(read_metadata(path, account)) == []
    assert account.malformed == 25
    assert len(account.describe()) == 11
    assert account.describe()[-1] == f"{path}: 15 more malformed lines"


def test_a_truncated_gzip_file_keeps_what_came_before_and_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "reviews_X.json.gz"
    lines = b"".join(GOOD.replace(b"U1", b"U%d" % (i * 7919 % 10_007)) for i in range(20_000))
    path.write_bytes(gzip.compress(lines)[:-2000])
    account = FileAccount(path)
    read = len(list(read_reviews(path, account)))
    assert 0 < read < 20_000
    assert account.malformed == 1
    assert account.examples[0][0] == read + 1
    assert "truncated" in account.examples[0][1]


def test_a_file_that_is_not_gzip_is_malformed_from_line_one(tmp_path: Path) -> None:
    path = tmp_path / "reviews_X.json.gz"
    path.write_bytes(GOOD)
    account = FileAccount(path)
    assert list(read_reviews(path, account)) == []
    with pytest.raises(DataError, match="1 of 1 lines are malformed"):
        account.check_share(0.01)


def test_the_share_is_a_limit_that_may_be_reached() -> None:
    account = FileAccount(Path("reviews_X.json"), lines=100)
    account.add_malformed(7, "not JSON")
    account.check_share(0.01)
    account.add_malformed(9, "not JSON")
    with pytest.raises(DataError, match=r"2 of 100 lines are malformed \(2.00%\), at most 1.00%") as error:
        account.check_share(0.01)
    assert "line 7: not JSON" in str(error.value)
    with pytest.raises(DataError, match="no lines"):
        FileAccount(Path("reviews_X.json")).check_share(1.0)


def test_files_are_found_by_their_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file meta_\*.json or meta_\*.json.gz"):
        find_raw_file(tmp_path, "meta", None)
    (tmp_path / "meta_Books.json.gz").touch()
    assert find_raw_file(tmp_path, "meta", None).name == "meta_Books.json.gz"
    (tmp_path / "meta_Toys.json").touch()
    with pytest.raises(DataError, match=r"meta_Books.json.gz, meta_Toys.json. Name one with --metadata_file_name"):
        find_raw_file(tmp_path, "meta", None)
    assert find_raw_file(tmp_path, "meta", "meta_Toys.json").name == "meta_Toys.json"
    with pytest.raises(DataError, match="--reviews_file_name: there is no file"):
        find_raw_file(tmp_path, "reviews", "other.json")
    with pytest.raises(DataError, match="there is no folder"):
        find_raw_file(tmp_path / "nowhere", "meta", None)
