"""Blocks of rows -> <split>/part.N.parquet, and metadata.json beside the splits."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from training.preprocessing.interactions import Interactions
from training.preprocessing.samples import ROWS_PER_GROUP, RaggedRows
from training.preprocessing.stages import Stage

METADATA_FILE = "metadata.json"
COMPRESSION = "zstd"
TIMESTAMPS = {"target": "timestamp_trgt", "history": "timestamp_pos"}


def write_parts(
    folder: Path, blocks: Iterable[RaggedRows], category_of: np.ndarray, rows_per_part: int, stage: Stage
) -> int:
    """Writes part.0.parquet, part.1.parquet, … of rows_per_part rows each (the last may have fewer) -> rows."""
    folder.mkdir()
    parts = _Parts(folder, rows_per_part)
    try:
        for block in blocks:
            parts.write(table_of(block, category_of))
            stage.advance(len(block.label))
    finally:
        parts.close()
    return parts.rows


def table_of(rows: RaggedRows, category_of: np.ndarray) -> Any:
    """A pyarrow table with the columns in the order that `convert` expects."""
    import pyarrow as pa

    offsets = pa.array(rows.offsets)

    def lists(values: np.ndarray) -> Any:
        return pa.ListArray.from_arrays(offsets, pa.array(values))

    columns = {
        "label": rows.label,
        "user_id": rows.user,
        "item_id_trgt": rows.target,
        "cat_id_trgt": category_of[rows.target],
        "item_id_pos": lists(rows.positive),
        "cat_id_pos": lists(category_of[rows.positive]),
        "item_id_neg": lists(rows.negative),
        "cat_id_neg": lists(category_of[rows.negative]),
    }
    if rows.target_time_s is not None and rows.positive_time_s is not None:
        columns |= {TIMESTAMPS["target"]: rows.target_time_s, TIMESTAMPS["history"]: lists(rows.positive_time_s)}
    return pa.table(columns)


def write_metadata(folder: Path, interactions: Interactions) -> None:
    """metadata.json: the table sizes, in the order of the columns; how rows belong together; columns with times."""
    sizes = {"uid": interactions.users, "item": interactions.item_count, "cat": interactions.categories}
    content: dict[str, Any] = {"cardinalities": [{"name": name, "value": value} for name, value in sizes.items()]}
    content["rows_per_group"] = ROWS_PER_GROUP
    if interactions.times_s is not None:
        content["timestamps"] = TIMESTAMPS
    (folder / METADATA_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


class _Parts:
    """Cuts a stream of tables into files."""

    def __init__(self, folder: Path, rows_per_part: int) -> None:
        self._folder, self._rows_per_part = folder, rows_per_part
        self._writer: Any = None
        self._in_part = self._next_part = self.rows = 0

    def write(self, table: Any) -> None:
        while table.num_rows:
            if self._writer is None or self._in_part == self._rows_per_part:
                self._start_part(table.schema)
            piece = table.slice(0, self._rows_per_part - self._in_part)
            self._writer.write_table(piece)
            self._in_part += piece.num_rows
            self.rows += piece.num_rows
            table = table.slice(piece.num_rows)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _start_part(self, schema: Any) -> None:
        import pyarrow.parquet as pq

        self.close()
        path = self._folder / f"part.{self._next_part}.parquet"
        self._writer = pq.ParquetWriter(
            path, schema, compression=COMPRESSION, compression_level=1, use_dictionary=False
        )  # of so many different ids a dictionary makes larger and slower files
        self._next_part += 1
        self._in_part = 0
