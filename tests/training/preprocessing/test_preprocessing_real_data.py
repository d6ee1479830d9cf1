"""Counts on the real sets, where they lie beside the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.preprocessing.amazon_dataset import PreprocessOptions, preprocess_amazon
from training.preprocessing.samples import SampleRules

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "prefixes", "users", "rows"),
    [
        ("amazon_sports", {"shortest_sequence_for_user": 5}, 0, 35_578, {"train": 450_038, "test": 71_156}),
        ("ml1m", {"negative_sampling": "popularity"}, 60, 5_180, {"train": 508_426, "test": 10_360}),
    ],
)
def test_rows_are_as_many_as_the_reference_made(
    tmp_path: Path, name: str, options: dict, prefixes: int, users: int, rows: dict[str, int]
) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"the real data is not here: {DATA / name}")
    rules = SampleRules(prefixes_per_user=prefixes)
    result = preprocess_amazon(PreprocessOptions(DATA / name, tmp_path / "parquet", rules=rules, **options))
    assert result.rows == rows
    assert result.interactions.users == users
    assert [account.malformed for account in result.accounts] == [0, 0]
    assert result.seen_everything == 0
