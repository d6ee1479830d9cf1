"""All kept interactions in numbered, sorted, compact form: reading, filtering and sorting are DuckDB's, on disk.

DuckDB stays within a memory limit and spills to the working folder. What comes out is held in memory:
4 bytes per interaction (12 with its time), 8 per user, 4 per item.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from training.errors import DataError
from training.preprocessing.raw_amazon import NO_CATEGORY, read_metadata, read_reviews
from training.preprocessing.raw_lines import FileAccount
from training.preprocessing.stages import Stage

LINES_PER_INSERT = 50_000


@dataclass(frozen=True)
class Interactions:
    """Interactions of the kept users, by user and then time (ties by asin). Ids run from 1.

    items [N] int32: the item of each interaction. offsets [U + 1] int64: user u has items[offsets[u-1]:offsets[u]].
    category_of [I + 1] int32: the category of each item; entry 0 is padding. categories: how many there are.
    times_s [N] int64: when; None if nobody asked.
    """

    items: np.ndarray
    offsets: np.ndarray
    category_of: np.ndarray
    categories: int
    times_s: np.ndarray | None = None

    @property
    def users(self) -> int:
        return len(self.offsets) - 1

    @property
    def item_count(self) -> int:
        return len(self.category_of) - 1


@dataclass(frozen=True)
class Dropped:
    """What of the usable lines did not become interactions of kept users, for the summary."""

    users: int
    interactions: int
    items: int
    duplicate_metadata: int
    items_without_category: int


class RawStore:
    """The raw lines in a DuckDB file in `folder`. memory_limit_mb: what DuckDB may use before it spills to disk."""

    def __init__(self, folder: Path, memory_limit_mb: int) -> None:
        import duckdb

        self._failure = duckdb.Error
        self._db = duckdb.connect(str(folder / "raw.duckdb"))
        self._db.execute(f"SET memory_limit = '{int(memory_limit_mb)}MB'")
        self._db.execute("SET temp_directory = $folder", {"folder": str(folder / "spill")})
        self._db.execute("SET preserve_insertion_order = false")
        self._db.execute("CREATE TABLE reviews (reviewer VARCHAR, asin VARCHAR, time_s BIGINT)")
        self._db.execute("CREATE TABLE metadata (asin VARCHAR, category VARCHAR, position BIGINT)")

    def __enter__(self) -> RawStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *rest: object) -> None:
        self._db.close()
        if isinstance(error, self._failure):
            raise DataError(
                f"sorting and grouping failed: {error}. Raise --memory_limit_mb, or make room on the output's disk."
            ) from error

    def load_reviews(self, path: Path, account: FileAccount, stage: Stage) -> None:
        self._load("reviews", ("reviewer", "asin", "time_s"), read_reviews(path, account), stage)

    def load_metadata(self, path: Path, account: FileAccount, stage: Stage) -> None:
        numbered = ((*item, position) for position, item in enumerate(read_metadata(path, account)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes in titles
            self._load("metadata", ("asin", "category", "position"), numbered, stage)

    def _load(self, table: str, columns: tuple[str, ...], rows: Iterable[tuple], stage: Stage) -> None:
        import pyarrow as pa

        for batch in _batches(rows, LINES_PER_INSERT):
            values = map(pa.array, zip(*batch, strict=True))
            self._db.register("batch", pa.table(dict(zip(columns, values, strict=True))))
            self._db.execute(f"INSERT INTO {table} SELECT * FROM batch")  # noqa: S608 - our own table names
            self._db.unregister("batch")
            stage.advance(len(batch))

    def number(self, shortest_sequence_for_user: int) -> None:
        """Keeps users with enough interactions; gives ids from 1, in the order of their names, to what remains."""
        self._db.execute(
            """CREATE TABLE users AS
               SELECT reviewer, interactions, CAST(row_number() OVER (ORDER BY reviewer) AS INTEGER) AS id
               FROM (SELECT reviewer, count(*) AS interactions FROM reviews GROUP BY reviewer)
               WHERE interactions >= $shortest""",
            {"shortest": shortest_sequence_for_user},
        )
        if self._one("SELECT count(*) FROM users") == 0:
            longest = self._one("SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM reviews GROUP BY reviewer)")
            raise DataError(
                f"shortest_sequence_for_user: got {shortest_sequence_for_user}, but the longest user has {longest} "
                "interactions, so nobody remains. Lower it."
            )
        self._db.execute(
            """CREATE TABLE items AS
               WITH first_metadata AS (SELECT asin, arg_min(category, position) AS category FROM metadata GROUP BY asin)
               SELECT asin, coalesce(category, $none) AS category,
                      CAST(row_number() OVER (ORDER BY asin) AS INTEGER) AS id
               FROM (SELECT DISTINCT asin FROM reviews SEMI JOIN users USING (reviewer))
               LEFT JOIN first_metadata USING (asin)""",
            {"none": NO_CATEGORY},
        )
        self._db.execute(
            """CREATE TABLE categories AS
               SELECT category, CAST(row_number() OVER (ORDER BY category) AS INTEGER) AS id
               FROM (SELECT DISTINCT category FROM items)"""
        )

    def interactions(self, with_times: bool = False) -> Interactions:
        """After number(): everything that remains, sorted."""
        lengths = self._column("SELECT CAST(interactions AS BIGINT) AS v FROM users ORDER BY id")
        category_of = self._column("SELECT c.id AS v FROM items JOIN categories c USING (category) ORDER BY items.id")
        items, *times = self._columns(
            f"""SELECT items.id AS v {", reviews.time_s AS t" if with_times else ""} FROM reviews
               JOIN users USING (reviewer) JOIN items ON items.asin = reviews.asin
               ORDER BY users.id, reviews.time_s, items.id"""  # noqa: S608 - our own column names
        )
        return Interactions(
            items=items.astype(np.int32, copy=False),
            offsets=np.concatenate(([0], np.cumsum(lengths))),
            category_of=np.concatenate(([0], category_of)).astype(np.int32),
            categories=int(category_of.max()),
            times_s=times[0] if times else None,
        )

    def dropped(self) -> Dropped:
        """After number()."""
        return Dropped(
            users=self._one("SELECT (SELECT count(DISTINCT reviewer) FROM reviews) - (SELECT count(*) FROM users)"),
            interactions=self._one("SELECT count(*) FROM reviews ANTI JOIN users USING (reviewer)"),
            items=self._one("SELECT (SELECT count(DISTINCT asin) FROM reviews) - (SELECT count(*) FROM items)"),
            duplicate_metadata=self._one("SELECT count(*) - count(DISTINCT asin) FROM metadata"),
            items_without_category=self._one("SELECT count(*) FROM items WHERE category = $none", none=NO_CATEGORY),
        )

    def _one(self, query: str, **parameters: str) -> int:
        row = self._db.execute(query, parameters).fetchone()
        return int(row[0]) if row else 0

    def _column(self, query: str) -> np.ndarray:
        return self._columns(query)[0]

    def _columns(self, query: str) -> list[np.ndarray]:
        return [np.asarray(values) for values in self._db.execute(query).fetchnumpy().values()]


def _batches(rows: Iterable[tuple], size: int) -> Iterator[list[tuple]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, size)):
        yield batch
