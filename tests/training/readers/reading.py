"""Small chunks of every type, and what Dataset reads of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from training.input_pipeline import Dataset

HISTORY = {"dtype": "int64", "cardinality": 300, "dimensions": [3]}


def rows(data: Dataset, **options: Any) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in ["label", *(f.name for f in data.features)]}
    for batch in data.batches(**options):
        columns["label"] += batch.label.numpy().tolist()
        for name, values in batch.features.items():
            columns[name] += values.numpy().tolist()
    return columns


def spec_of(chunks: list[dict[str, Any]], **features: Mapping[str, Any]) -> dict[str, Any]:
    described = {"label": {"dtype": "float32"}, "item": {"dtype": "int64", "cardinality": 300}, **features}
    return {
        "feature_spec": described,
        "source_spec": {"train": chunks},
        "channel_spec": {"label": ["label"]},
        "metadata": {},
    }


def write_parquet(folder: Path, name: str = "a.parquet", **columns: Any) -> Path:
    columns = {"label": [0.0, 1.0, 1.0, 0.0, 1.0], "item": [1, 2, 300, 4, 5], **columns}
    pq.write_table(pa.table(columns), folder / name)
    return folder / name
