"""The pieces of the input pipeline on their own: groups, shuffling, fetching ahead."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.pipeline.blocks import Block
from training.pipeline.grouping import rank_rows, whole_groups
from training.pipeline.prefetch import prefetched
from training.pipeline.row_cache import RowCache
from training.pipeline.row_shuffle import shuffled
from training.readers.columns import Column, Columns, Kind


@given(
    first=st.integers(0, 10**6), rows=st.integers(1, 300), group=st.integers(1, 5), ranks=st.integers(1, 9)
)  # fmt: skip
def test_ranks_share_a_batch_between_groups(first: int, rows: int, group: int, ranks: int) -> None:
    parts = [rank_rows(first, rows, group, rank, ranks) for rank in range(ranks)]
    assert [n for part in parts for n in range(part.start, part.stop)] == list(range(rows))
    for part in parts:
        assert (first + part.start) % group == 0 or part.start in (0, rows)
        assert abs(part.stop - part.start - rows / ranks) < 2 * group


def blocks_of(numbers: np.ndarray, size: int, source: object = None) -> Iterator[Block]:
    for start in range(0, len(numbers), size):
        part = numbers[start : start + size]
        yield Block(source, {"n": part, "h": np.repeat(part[:, None], 3, axis=1)})


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4), size=st.integers(1, 9), group=st.integers(1, 4))
def test_groups_do_not_cross_files_and_odd_rows_come_last(lengths: list[int], size: int, group: int) -> None:
    files = [np.arange(length) + 1000 * number for number, length in enumerate(lengths)]
    blocks = [block for number, rows in enumerate(files) for block in blocks_of(rows, size, number)]
    got = list(whole_groups(iter(blocks), group))
    rows = np.concatenate([columns["n"] for columns in got])
    assert sorted(rows) == sorted(np.concatenate(files))
    whole = [length - length % group for length in lengths]
    expected = np.concatenate([file[:count] for file, count in zip(files, whole, strict=True)])
    np.testing.assert_array_equal(rows[: sum(whole)], expected)
    assert all(len(columns["n"]) % group == 0 for columns in got[:-1])


@settings(deadline=None)
@given(
    rows=st.integers(0, 300), size=st.integers(1, 50), buffer=st.integers(1, 120), group=st.integers(1, 3),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_a_shuffled_stream_has_the_same_groups(rows: int, size: int, buffer: int, group: int, seed: int) -> None:
    def once() -> list[Columns]:
        grouped = whole_groups(blocks_of(np.arange(rows), size), group)
        return list(shuffled(grouped, buffer, group, np.random.default_rng(seed)))

    numbers = np.concatenate([np.zeros(0, int), *(columns["n"] for columns in once())])
    assert sorted(numbers) == list(range(rows))
    whole = rows - rows % group
    firsts = numbers[:whole].reshape(-1, group)
    np.testing.assert_array_equal(firsts, firsts[:, :1] // group * group + np.arange(group))
    np.testing.assert_array_equal(numbers[whole:], np.arange(whole, rows))
    for columns, again in zip(once(), once(), strict=True):
        np.testing.assert_array_equal(columns["n"], again["n"])
        np.testing.assert_array_equal(columns["h"], np.repeat(columns["n"][:, None], 3, axis=1))


def test_shuffling_reaches_over_the_whole_buffer_and_holds_no_more() -> None:
    taken = 0

    def counted() -> Iterator[Columns]:
        nonlocal taken
        for block in blocks_of(np.arange(10_000), 100):
            taken += 100
            yield block.columns

    numbers = []
    for columns in shuffled(counted(), 1000, 1, np.random.default_rng(0)):
        numbers += columns["n"].tolist()
        assert taken - len(numbers) <= 1000
    moved = np.array(numbers) - np.arange(10_000)
    assert np.abs(moved).mean() > 400


def cache_of(*sources: np.ndarray, group: int = 2, limit: int = 10**9, rows: int | None = None) -> RowCache | None:
    columns = [Column("n", Kind.ID, (), 60_000), Column("h", Kind.ID, (3,), 60_000)]
    blocks = (b for number, rows in enumerate(sources) for b in blocks_of(rows.astype(np.uint16), 7, number))
    return RowCache.load(blocks, columns, limit, rows, group)


@pytest.mark.parametrize("repeat", [1, 2, 5])
def test_defect_17_equal_histories_are_kept_once(repeat: int) -> None:
    cache = cache_of(np.repeat(np.arange(100), repeat))
    assert cache is not None
    assert cache.bytes == 100 * repeat * (2 + 4) + 100 * 3 * 2
    rows = cache.rows(np.array([3, 0, 100 * repeat - 1, 3]))
    np.testing.assert_array_equal(rows["n"], [3 // repeat, 0, 99, 3 // repeat])
    np.testing.assert_array_equal(rows["h"], np.repeat(rows["n"][:, None], 3, axis=1))


def test_the_cache_orders_whole_groups_of_each_file() -> None:
    cache = cache_of(np.arange(11), np.arange(100, 107), np.arange(200, 204))
    assert cache is not None
    np.testing.assert_array_equal(cache.order(2, None), np.arange(22))
    order = cache.order(2, np.random.default_rng(0))
    numbers = cache.rows(order)["n"]
    assert sorted(order) == list(range(22))
    np.testing.assert_array_equal(numbers[20:], [10, 106])
    np.testing.assert_array_equal(numbers[:20:2] + 1, numbers[1:20:2])
    assert (numbers[:20] != np.sort(numbers[:20])).any()


def test_the_cache_gives_up_at_its_limit() -> None:
    read: list[int] = []

    def counted() -> Iterator[Block]:
        for block in blocks_of(np.arange(1000, dtype=np.uint16), 10):
            read.append(10)
            yield block

    columns = [Column("n", Kind.ID, (), 60_000), Column("h", Kind.ID, (3,), 60_000)]
    assert RowCache.load(counted(), columns, 1200, None, 1) is None
    assert sum(read) == 110  # 12 bytes a row
    read.clear()
    assert RowCache.load(counted(), columns, 1200, 1000, 1) is None
    assert read == []


def test_prefetching_is_bounded_by_number_and_by_size() -> None:
    made: list[int] = []

    def items() -> Generator[int, None, None]:
        for number in range(20):
            made.append(number)
            yield number

    for count, limit, most in ((3, 10**9, 3), (100, 40, 4), (100, 1, 1)):
        made.clear()
        got = []
        for item in prefetched(items(), count, lambda _: 10, limit):
            got.append(item)
            time.sleep(0.005)
            assert len(made) - len(got) <= most + 1  # and the one that waits for room
        assert got == list(range(20))


def test_an_error_comes_out_where_its_item_would_have() -> None:
    def items() -> Generator[int, None, None]:
        yield 1
        yield 2
        raise ValueError("broken")

    for count in (0, 1, 5):
        got = []
        with pytest.raises(ValueError, match="broken"):
            for item in prefetched(items(), count, lambda _: 1):
                got.append(item)
        assert got == [1, 2]


def test_leaving_early_closes_the_source_and_ends_the_thread() -> None:
    closed = threading.Event()

    def items() -> Generator[int, None, None]:
        try:
            yield from range(10**9)
        finally:
            closed.set()

    for count in (0, 2):
        closed.clear()
        stream = prefetched(items(), count, lambda _: 1)
        assert next(stream) == 0
        stream.close()  # type: ignore[attr-defined]
        assert closed.is_set()
    assert not any(thread.name == "input pipeline" for thread in threading.enumerate())
