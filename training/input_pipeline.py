"""FeatureSpec + readers -> batches of flat {feature name: tensor}, label.

Every rank reads the same rows in the same order and keeps its own part of each global batch. So all ranks take the
same number of steps whatever the files' sizes, and no collective can wait for a rank that has ended.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import tensorflow as tf

from training.errors import DataError, SettingsError
from training.feature_spec import Feature, FeatureSpec
from training.pipeline.batching import Share, cut_batches, deliver
from training.pipeline.blocks import Part, mapping_blocks
from training.pipeline.grouping import rows_per_group, whole_groups
from training.pipeline.prefetch import prefetched
from training.pipeline.row_cache import RowCache
from training.pipeline.row_shuffle import shuffled
from training.readers import open_chunk
from training.readers.columns import Column, Columns, column_of
from training.settings import DataSettings

TRAIN = "train"
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Batch:
    """This rank's rows of one global batch. features {name: [n, …]}, label [n] float32, global_rows over all ranks.

    Ids are int32, all other features float32.
    """

    features: Mapping[str, tf.Tensor]
    label: tf.Tensor
    global_rows: int

    @property
    def bytes(self) -> int:
        return sum(t.shape.num_elements() * t.dtype.size for t in (self.label, *self.features.values()))


@dataclass(frozen=True)
class Dataset:
    """One mapping of a FeatureSpec, as a model reads it.

    features: what the model needs, label excepted. batch_size: rows of a global batch. Of the settings, those of
    caching and prebatch_train_size and prefetch_train_size belong to the mapping `train`, the test ones to all others.
    """

    spec: FeatureSpec
    mapping: str
    features: Sequence[Feature]
    label: str
    batch_size: int
    settings: DataSettings = field(default_factory=DataSettings)
    rank: int = 0
    ranks: int = 1

    def rows(self) -> int | None:
        """Rows of the mapping as the specification's metadata has it; None if it does not say."""
        rows = self.spec.metadata.get("rows", {})
        return rows.get(self.mapping) if isinstance(rows, dict) else None

    def check(self) -> None:
        """Raises SettingsError or DataError now for what would fail at the first batch."""
        records = [part.reader.record_rows() for part in self._parts]
        if 0 in records:
            empty = self._parts[records.index(0)]
            raise DataError(f"{empty.name}: no rows in {', '.join(map(str, empty.files))}. Write the files again.")
        self._check_prebatch(records)

    def batches(
        self, shuffle_seed: int | None = None, drop_remainder: bool = False, passes: int = 1
    ) -> Generator[Batch, None, None]:
        """`passes` passes over all rows, one after another, made ahead in a thread.

        shuffle_seed: a random order that this seed gives (another one in each pass); None: the order of the files,
        as with the setting shuffle off. drop_remainder: leave out each pass's last batch if it is not full.
        Raises DataError for files that cannot be read and values that do not fit, naming file, row and feature.
        """
        settings = self.settings
        count = settings.prefetch_train_size if self.mapping == TRAIN else settings.prefetch_test_size
        made = self._made(shuffle_seed if settings.shuffle else None, drop_remainder, passes)
        yield from prefetched(made, count, lambda batch: batch.bytes)

    def _made(self, seed: int | None, drop_remainder: bool, passes: int) -> Generator[Batch, None, None]:
        self.check()
        for number in range(passes):
            rng = None if seed is None else np.random.default_rng([seed, number])
            cache = self._cache
            cut = self._stream(rng, drop_remainder) if cache is None else self._from_cache(cache, rng, drop_remainder)
            for global_rows, columns in cut:
                tensors = {name: tf.convert_to_tensor(values) for name, values in columns.items()}
                yield Batch({f.name: tensors[f.name] for f in self.features}, tensors[self.label], global_rows)

    def _stream(self, rng: np.random.Generator | None, drop_remainder: bool) -> Iterator[tuple[int, Columns]]:
        threads, group = self._threads_of(0.5), self._share.group
        if rng is None:
            rows: Iterator[Columns] = (block.columns for block in mapping_blocks(self._parts, threads))
        else:
            order = rng.permutation(len(self._parts[0].files)).tolist()
            grouped = whole_groups(mapping_blocks(self._parts, threads, order), group)
            rows = shuffled(grouped, self.settings.shuffle_rows, group, rng)
        return cut_batches(rows, self._columns, self.batch_size, drop_remainder, self._share)

    def _from_cache(
        self, cache: RowCache, rng: np.random.Generator | None, drop_remainder: bool
    ) -> Iterator[tuple[int, Columns]]:
        order = cache.order(self._share.group, rng)
        for first in range(0, len(order), self.batch_size):
            rows = order[first : first + self.batch_size]
            if len(rows) == self.batch_size or not drop_remainder:
                mine = rows[self._share.of(first, len(rows))]
                yield len(rows), deliver(cache.rows(mine), self._columns)

    @cached_property
    def _cache(self) -> RowCache | None:
        limit = self.settings.cache_limit_mb * MEGABYTE
        if self.mapping != TRAIN or self.settings.disable_cache or limit == 0:
            return None
        blocks = mapping_blocks(self._parts, self._threads_of(1.0))  # nothing else runs until it is there
        return RowCache.load(blocks, self._columns, limit, self.rows(), self._share.group)

    @cached_property
    def _columns(self) -> list[Column]:
        features = [self.spec.features[self.label], *self.features]
        return [column_of(feature, self.label) for feature in features]

    @cached_property
    def _parts(self) -> list[Part]:
        """The chunks that have needed features, each with the reader of these."""
        chunks = self.spec.mapping(self.mapping)
        stored = {name for chunk in chunks for name in chunk.features}
        missing = [c.name for c in self._columns if c.name not in stored]
        if missing:
            raise DataError(f"source_spec.{self.mapping}: {', '.join(missing)} missing; the model needs it")
        parts = []
        for number, chunk in enumerate(chunks):
            needed = [c for c in self._columns if c.name in chunk.features]
            if needed:
                name = f"source_spec.{self.mapping}[{number}]"
                parts.append(Part(name, chunk.files, open_chunk(chunk, needed)))
        return parts

    @cached_property
    def _share(self) -> Share:
        return Share(rows_per_group(self.spec), self.rank, self.ranks)

    def _threads_of(self, share: float) -> int:
        """Threads that decode, by default this share of the cores that the process may use."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.settings.num_parallel_calls or max(1, int(cores * share))

    def _check_prebatch(self, records: Sequence[int | None]) -> None:
        name = "prebatch_train_size" if self.mapping == TRAIN else "prebatch_test_size"
        asked = getattr(self.settings, name)
        if not asked:
            return
        prebatched = [(part, rows) for part, rows in zip(self._parts, records, strict=True) if rows is not None]
        if not prebatched:
            raise SettingsError(f"{name}: got {asked}, but {self.mapping} has no tfrecord chunk. Leave it out.")
        for part, rows in prebatched:
            if rows != asked and not (rows < asked and part.reader.has_one_record()):
                raise SettingsError(
                    f"{name}: got {asked}, but the records of {part.files[0]} have {rows} row(s). "
                    "Pass that, or leave it out."
                )
