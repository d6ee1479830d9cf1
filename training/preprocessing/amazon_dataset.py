"""`recserve preprocess`: the stages from raw files to Parquet."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from training.errors import DataError
from training.preprocessing.interactions import Dropped, Interactions, RawStore
from training.preprocessing.negatives import NegativeSampler
from training.preprocessing.output_folder import staged_folder
from training.preprocessing.parquet_output import write_metadata, write_parts
from training.preprocessing.raw_amazon import find_raw_file
from training.preprocessing.raw_lines import FileAccount
from training.preprocessing.read_ahead import read_ahead
from training.preprocessing.samples import ROWS_PER_GROUP, TRAIN, SampleRules, blocks, target_positions
from training.preprocessing.stages import Stages
from training.preprocessing.summary import table, timing_rows

KIND = "preprocess"


@dataclass(frozen=True)
class PreprocessOptions:
    """What the command was asked for; the options' help says what each means."""

    amazon_dataset_path: Path
    output_path: Path
    metadata_file_name: str | None = None
    reviews_file_name: str | None = None
    shortest_sequence_for_user: int = 20
    negative_sampling: str = "uniform"
    max_malformed_share: float = 0.01
    rows_per_part: int = 262_144
    memory_limit_mb: int = 512
    rules: SampleRules = field(default_factory=SampleRules)


@dataclass(frozen=True)
class PreprocessResult:
    """What was read, kept, dropped and written; rows: per split."""

    accounts: list[FileAccount]
    interactions: Interactions
    dropped: Dropped
    rows: dict[str, int]
    seen_everything: int
    seconds: dict[str, float]

    def describe(self) -> str:
        """The table that the command ends with, and the first malformed lines."""
        kept, dropped = self.interactions, self.dropped
        rows: list[tuple[str, object]] = [
            ("users", kept.users),
            ("items", kept.item_count),
            ("categories", kept.categories),
            ("interactions", len(kept.items)),
            *((f"{split} rows", count) for split, count in self.rows.items()),
            ("dropped: users with too few interactions", dropped.users),
            ("dropped: their interactions", dropped.interactions),
            ("dropped: items that only they had", dropped.items),
            ("dropped: repeated metadata (the first counts)", dropped.duplicate_metadata),
            *((f"dropped: malformed lines of {a.path.name}", a.malformed) for a in self.accounts),
            ("items without a category (no_category)", dropped.items_without_category),
            ("negatives of users who had seen every item", self.seen_everything),
        ]
        malformed = [text for account in self.accounts for text in account.describe()]
        return "\n".join([*malformed, table("preprocessed", [*rows, *timing_rows(self.seconds)])])


def preprocess_amazon(options: PreprocessOptions) -> PreprocessResult:
    """Raises DataError for data that cannot be used; then nothing is left behind."""
    reviews = find_raw_file(options.amazon_dataset_path, "reviews", options.reviews_file_name)
    metadata = find_raw_file(options.amazon_dataset_path, "meta", options.metadata_file_name)
    accounts = [FileAccount(reviews), FileAccount(metadata)]
    stages = Stages()
    with staged_folder(options.output_path, KIND, [options.amazon_dataset_path]) as staging:
        interactions, dropped = _read(options, accounts, staging / "work", stages)
        rows, seen_everything = _write(options, interactions, staging, stages)
    return PreprocessResult(accounts, interactions, dropped, rows, seen_everything, stages.seconds)


def _read(
    options: PreprocessOptions, accounts: list[FileAccount], work: Path, stages: Stages
) -> tuple[Interactions, Dropped]:
    reviews, metadata = accounts
    work.mkdir()
    with RawStore(work, options.memory_limit_mb) as store:
        with stages.stage("read metadata", "lines") as stage:
            store.load_metadata(metadata.path, metadata, stage)
        metadata.check_share(options.max_malformed_share)
        with stages.stage("read reviews", "lines") as stage:
            store.load_reviews(reviews.path, reviews, stage)
        reviews.check_share(options.max_malformed_share)
        with stages.stage("number and sort", "interactions"):
            store.number(options.shortest_sequence_for_user)
            interactions, dropped = store.interactions(options.rules.timestamps), store.dropped()
    shutil.rmtree(work)
    return interactions, dropped


def _write(
    options: PreprocessOptions, interactions: Interactions, staging: Path, stages: Stages
) -> tuple[dict[str, int], int]:
    rows = {}
    with stages.stage("prepare negatives", "interactions"):
        sampler = NegativeSampler(interactions, options.negative_sampling)
    for split in options.rules.splits:
        expected = ROWS_PER_GROUP * len(target_positions(interactions, split, options.rules))
        if not expected and split == TRAIN:
            raise DataError(
                "no training rows remain: no user has enough interactions before the last one. Lower "
                f"--shortest_sequence_for_training (got {options.rules.shortest_sequence_for_training}) or add data."
            )
        with stages.stage(f"write {split}", "rows", expected) as stage:
            split_blocks = read_ahead(blocks(interactions, split, options.rules, sampler))
            rows[split] = write_parts(
                staging / split, split_blocks, interactions.category_of, options.rows_per_part, stage
            )
    write_metadata(staging, interactions)
    return rows, sampler.seen_everything
