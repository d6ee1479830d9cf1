"""`recserve generate`: the synthetic shop as raw Amazon 2014 files. The same seed gives the same bytes."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from training.errors import DataError
from training.preprocessing.output_folder import staged_folder
from training.preprocessing.stages import Stage, Stages
from training.preprocessing.summary import table, timing_rows
from training.preprocessing.synthetic_shop import Deck, Shop, Visits, visit

KIND = "generate"
CHUNK = 4096  # users, or metadata lines, at a time
LINES_PER_WRITE = 65_536
WITHOUT_METADATA = 0.01  # share of items
WITHOUT_CATEGORY = 0.01
TITLES = ('The "best" of {0}', '{0}: it\'s "{0}"', "Item {0}", "Don't panic, {0}")


@dataclass(frozen=True)
class GenerateOptions:
    """What the command was asked for; the options' help says what each means."""

    output_path: Path
    name: str = "Synthetic"
    users: int = 2000
    items: int = 2000
    categories: int = 40
    mean_interactions: float = 40.0
    seed: int = 12345


@dataclass(frozen=True)
class GenerateResult:
    interactions: int
    metadata_lines: int
    seconds: dict[str, float]

    def describe(self) -> str:
        """The table that the command ends with."""
        lines: list[tuple[str, object]] = [
            ("interactions", self.interactions),
            ("metadata lines", self.metadata_lines),
        ]
        return table("generated", [*lines, *timing_rows(self.seconds)])


def generate_dataset(options: GenerateOptions) -> GenerateResult:
    """Writes reviews_<name>.json.gz and meta_<name>.json.gz; memory is bounded by the items and one chunk of users."""
    if options.categories > options.items:
        raise DataError(f"categories: got {options.categories}, expected at most as many as items ({options.items})")
    if not options.name or Path(options.name).name != options.name:
        raise DataError(f"name: got {options.name!r}, expected a part of a file name")
    rng = np.random.default_rng([options.seed, 1])
    shop = Shop.open(options.items, options.categories, rng)
    number_of = rng.permutation(options.items)  # so that an item's name says nothing about it
    stages = Stages()
    with staged_folder(options.output_path, KIND) as staging:
        with (
            stages.stage("write metadata", "lines", shop.items) as stage,
            _compressed(staging / f"meta_{options.name}.json.gz") as stream,
        ):
            lines = _write_metadata(stream, shop, number_of, rng, stage)
        with (
            stages.stage("write reviews", "users", options.users) as stage,
            _compressed(staging / f"reviews_{options.name}.json.gz") as stream,
        ):
            interactions = _write_reviews(stream, shop, number_of, options, stage)
    return GenerateResult(interactions, lines, stages.seconds)


@contextmanager
def _compressed(path: Path) -> Iterator[BinaryIO]:
    """Without name and time in the header, so that equal contents are equal bytes."""
    with path.open("wb") as file, gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0) as z:
        yield cast(BinaryIO, z)


def _write_metadata(stream: BinaryIO, shop: Shop, number_of: np.ndarray, rng: np.random.Generator, stage: Stage) -> int:
    category_of = np.repeat(np.arange(shop.categories), np.diff(shop.starts)).tolist()
    fate = rng.random(shop.items).tolist()
    written = 0
    for first in range(0, shop.items, CHUNK):
        chunk = range(first, min(first + CHUNK, shop.items))
        lines = [
            _metadata_line(int(number_of[item]), category_of[item], fate[item] >= WITHOUT_METADATA + WITHOUT_CATEGORY)
            for item in chunk
            if fate[item] >= WITHOUT_METADATA
        ]
        stream.write("".join(lines).encode())
        written += len(lines)
        stage.advance(len(chunk))
    return written


def _metadata_line(number: int, category: int, has_category: bool) -> str:
    fields: dict[str, object] = {"asin": _asin(number)}
    if number % 3 == 0:
        fields["title"] = TITLES[number // 3 % len(TITLES)].format(number)
    if has_category:
        path = ["Synthetic", f"Department {category % 10}", f"Category {category:05d}"]
        fields["categories"] = [path, ["Synthetic"]] if number % 7 == 0 else [path]
    return f"{fields!r}\n"


def _write_reviews(stream: BinaryIO, shop: Shop, number_of: np.ndarray, options: GenerateOptions, stage: Stage) -> int:
    deck = Deck(shop.items, np.random.default_rng([options.seed, 2]))
    written = 0
    for first in range(0, options.users, CHUNK):
        count = min(CHUNK, options.users - first)
        rng = np.random.default_rng([options.seed, 3, first])
        visits = visit(shop, count, options.mean_interactions, deck, rng)
        order = rng.permutation(len(visits.user))  # the files are not sorted by user
        for start in range(0, len(order), LINES_PER_WRITE):
            lines = _review_lines(visits, order[start : start + LINES_PER_WRITE], first, number_of)
            stream.write("".join(lines).encode())
        written += len(order)
        stage.advance(count)
    return written


def _review_lines(visits: Visits, chosen: np.ndarray, first_user: int, number_of: np.ndarray) -> Iterator[str]:
    columns = (visits.user + first_user, number_of[visits.item], visits.liked, visits.time_s)
    for user, number, liked, time_s in zip(*(column[chosen].tolist() for column in columns), strict=True):
        overall = 5.0 if liked else 3.0
        yield (
            f'{{"reviewerID": "A{user:08d}", "asin": "{_asin(number)}", "overall": {overall}, '
            f'"unixReviewTime": {time_s}}}\n'
        )


def _asin(number: int) -> str:
    return f"B{number:09d}"
