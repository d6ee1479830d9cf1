"""Small raw files and Parquet datasets, and readers of what comes out that do not use the code under test."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.preprocessing.byo import Rows, T
from training.preprocessing.tfrecord_dataset import ConvertOptions, convert_parquet

Review = tuple[str, str, int]


def _write_raw(
    folder: Path, reviews: Iterable[Review], metadata: Iterable[Mapping[str, Any]], packed: bool = True
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    review_lines = "".join(
        json.dumps({"reviewerID": user, "asin": item, "unixReviewTime": time, "overall": 5.0}) + "\n"
        for user, item, time in reviews
    )
    metadata_lines = "".join(f"{dict(m)!r}\n" for m in metadata)
    for name, text in (("reviews_Toys.json", review_lines), ("meta_Toys.json", metadata_lines)):
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / name).write_text(text)
    return folder


def _read_parquet(folder: Path, split: str) -> list[dict[str, Any]]:
    files = sorted((folder / split).iterdir(), key=lambda p: int(p.name.split(".")[1]))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def _read_records(*files: Path) -> list[dict[str, list[int]]]:
    import tensorflow as tf

    parsed = []
    for record in tf.data.TFRecordDataset([str(f) for f in files]).as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        parsed.append({name: list(feature.int64_list.value) for name, feature in features.items()})
    return parsed


def _byo_rows(count: int, seed: int = 0) -> Rows:
    """2 user features (sizes 9 and 4), 3 item features (sizes 50, 6 and 3), names of nobody's choice."""
    rng = np.random.default_rng(seed)
    rows: Rows = {"clicked": rng.integers(0, 2, count).tolist()}
    rows |= {name: rng.integers(1, size + 1, count).tolist() for name, size in (("who", 9), ("age", 4))}
    sizes = {"sku": 50, "shelf": 6, "colour": 3}
    rows |= {f"{name}_now": rng.integers(1, size + 1, count).tolist() for name, size in sizes.items()}
    for suffix in ("seen", "unseen"):
        lengths = rng.integers(0, 8, count)
        for name, size in sizes.items():
            rows[f"{name}_{suffix}"] = [rng.integers(1, size + 1, length).tolist() for length in lengths]
    return rows


def _write_byo(
    folder: Path,
    train: Mapping[str, Any] | None = None,
    test: Mapping[str, Any] | None = None,
    types: Mapping[str, Any] | None = None,
) -> Path:
    """A bring-your-own dataset; train has many small parts so that their order counts (few if it is long)."""
    train = _byo_rows(23, 1) if train is None else train
    test = _byo_rows(10, 2) if test is None else test
    for split, rows, fewest in (("train", train, 2), ("test", test, 100)):
        (folder / split).mkdir(parents=True)
        per_part = max(fewest, len(rows["clicked"]) // 20)
        arrays = {n: v if isinstance(v, pa.Array) else pa.array(v, (types or {}).get(n)) for n, v in rows.items()}
        table = pa.table(arrays)
        for part, start in enumerate(range(0, max(1, table.num_rows), per_part)):
            pq.write_table(table.slice(start, per_part), folder / split / f"part.{part}.parquet")
    sizes = {"who": 9, "age": 4, "sku": 50, "shelf": 6, "colour": 3}
    metadata = {"cardinalities": [{"name": name, "value": value} for name, value in sizes.items()]}
    (folder / "metadata.json").write_text(json.dumps(metadata))
    return folder


@pytest.fixture(scope="session")
def write_raw() -> Callable[..., Path]:
    """write_raw(folder, [(user, item, time)], [metadata dicts], packed=True) -> folder."""
    return _write_raw


@pytest.fixture(scope="session")
def read_parquet() -> Callable[..., list[dict[str, Any]]]:
    """read_parquet(folder, split) -> rows as dicts, in the order of the parts."""
    return _read_parquet


@pytest.fixture(scope="session")
def read_records() -> Callable[..., list[dict[str, list[int]]]]:
    """read_records(*files) -> each record's {feature: values}, parsed by TensorFlow."""
    return _read_records


@pytest.fixture(scope="session")
def byo_rows() -> Callable[..., Rows]:
    return _byo_rows


@pytest.fixture(scope="session")
def write_byo() -> Callable[..., Path]:
    """write_byo(folder, train=…, test=…, types={column: pyarrow type}) -> folder."""
    return _write_byo


@pytest.fixture
def convert(tmp_path: Path) -> Callable[..., Path]:
    """convert(train=…, test=…, types=…, **options) -> output folder of a bring-your-own dataset."""

    def run(train: Any = None, test: Any = None, types: Any = None, **options: Any) -> Path:
        shutil.rmtree(tmp_path / "parquet", ignore_errors=True)
        source = _write_byo(tmp_path / "parquet", train, test, types)
        defaults = {"number_of_user_features": 2, "max_seq_len": T}
        output = options.pop("output", tmp_path / "tfrecord")
        convert_parquet(ConvertOptions(source, output, **(defaults | options)))
        return output

    return run
