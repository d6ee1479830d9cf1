"""The rows of a mapping, block by block: files in any order, decoded ahead in threads, chunks side by side."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from training.errors import DataError
from training.readers import ChunkReader, Job
from training.readers.columns import BadValue, Columns

FILES_IN_TURN = 4


@dataclass(frozen=True)
class Part:
    """A chunk of a mapping with the reader of its needed columns. name: as in the specification, for messages."""

    name: str
    files: tuple[Path, ...]
    reader: ChunkReader


@dataclass(frozen=True)
class Block:
    """Rows that lie one after another in `source`: a file, or the whole mapping where chunks were put side by side."""

    source: object
    columns: Columns

    def __len__(self) -> int:
        return rows_of(self.columns)


def rows_of(columns: Mapping[str, object]) -> int:
    return len(next(iter(columns.values())))  # type: ignore[arg-type]


def mapping_blocks(parts: Sequence[Part], threads: int, file_order: Sequence[int] | None = None) -> Iterator[Block]:
    """threads: decode in advance, a block of each part for each of them.

    file_order: the files of the only part in this order, some in turn; None: all rows in the order of the files.
    Raises DataError for values that do not fit, naming file, row and feature, and for chunks of different lengths.
    """
    with ThreadPoolExecutor(threads, "decode") as pool:
        if len(parts) == 1:
            yield from _part_blocks(parts[0], pool, threads, file_order)
        else:
            streams = [_part_blocks(part, pool, threads, None) for part in parts]
            yield from (Block(None, columns) for columns in _side_by_side(parts, streams))


def _part_blocks(part: Part, pool: ThreadPoolExecutor, ahead: int, file_order: Sequence[int] | None) -> Iterator[Block]:
    rows_before: Counter[Path] = Counter()
    coming: deque[tuple[Path, Future[Columns]]] = deque()
    jobs = _in_order(part) if file_order is None else _in_turn(part, file_order)

    def next_block() -> Block:
        file, future = coming.popleft()
        try:
            columns = future.result()
        except BadValue as error:
            raise DataError(f"{file}, row {rows_before[file] + error.row}: {error}") from error
        rows_before[file] += rows_of(columns)
        return Block(file, columns)

    for file, job in jobs:
        coming.append((file, pool.submit(job)))
        if len(coming) > ahead:
            yield next_block()
    while coming:
        yield next_block()


def _in_order(part: Part) -> Iterator[tuple[Path, Job]]:
    for file in part.files:
        for job in part.reader.jobs(file):
            yield file, job


def _in_turn(part: Part, order: Sequence[int]) -> Iterator[tuple[Path, Job]]:
    """A block of each of a few files, again and again; a file that ends makes room for the next."""
    waiting = iter([part.files[i] for i in order])
    opened = deque((file, part.reader.jobs(file)) for file in islice(waiting, FILES_IN_TURN))
    while opened:
        file, jobs = opened.popleft()
        job = next(jobs, None)
        if job is not None:
            yield file, job
            opened.append((file, jobs))
        else:
            opened.extend((file, part.reader.jobs(file)) for file in islice(waiting, 1))


def _side_by_side(parts: Sequence[Part], streams: Sequence[Iterator[Block]]) -> Iterator[Columns]:
    """Row i of each part belongs together, however each is cut into blocks."""
    held: list[Columns] = [{} for _ in streams]
    done = [0] * len(streams)
    while True:
        for number, stream in enumerate(streams):
            while not held[number] or not rows_of(held[number]):
                block = next(stream, None)
                if block is None:
                    break
                held[number] = block.columns
        left = [rows_of(columns) if columns else 0 for columns in held]
        rows = min(left)
        if rows == 0:
            if any(left):
                raise _unequal(parts, streams, [a + b for a, b in zip(done, left, strict=True)])
            return
        yield {name: values[:rows] for columns in held for name, values in columns.items()}
        held = [{name: values[rows:] for name, values in columns.items()} for columns in held]
        done = [count + rows for count in done]


def _unequal(parts: Sequence[Part], streams: Sequence[Iterator[Block]], counts: list[int]) -> DataError:
    totals = [count + sum(map(len, stream)) for count, stream in zip(counts, streams, strict=True)]
    shown = "; ".join(
        f"{part.name} ({', '.join(f.name for f in part.files)}) has {total}"
        for part, total in zip(parts, totals, strict=True)
    )
    return DataError(f"chunks of one mapping must have equally many rows, but {shown}. Write them again.")
