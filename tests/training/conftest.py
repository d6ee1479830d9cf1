"""A tiny dataset in the Amazon layout, written with tf.train.Example itself, independent of our converter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.amazon_layout import amazon_layout
from training.feature_spec import FeatureSpec

USERS, ITEMS, CATEGORIES = 50, 120, 7
CARDINALITIES = {"user_id": USERS, "item_id": ITEMS, "cat_id": CATEGORIES}
Columns = dict[str, np.ndarray]


def amazon_raw_spec(history: int = 100, prebatch: int = 0, rows: dict[str, int] | None = None) -> dict:
    layout = amazon_layout(CARDINALITIES, history)
    names = list(layout["feature_spec"])
    source = {m: [{"type": "tfrecord", "features": names, "files": [f"{m}.tfrecord"]}] for m in ("train", "test")}
    metadata = {"prebatch_train_size": prebatch, "prebatch_test_size": prebatch}
    if rows:
        metadata["rows"] = rows
    return {**layout, "source_spec": source, "metadata": metadata}


def amazon_columns(rows: int, seed: int = 0, history: int = 100, longest: int = 30) -> Columns:
    """Rows in which a user likes the categories of her history: label 1 if the target's category is among them."""
    rng = np.random.default_rng(seed)
    category_of = np.r_[0, rng.integers(1, CATEGORIES + 1, ITEMS)]
    columns: Columns = {"user_id": rng.integers(1, USERS + 1, rows), "item_id_trgt": rng.integers(1, ITEMS + 1, rows)}
    for suffix in ("pos", "neg"):
        items = np.zeros((rows, history), np.int64)
        for row in range(rows):
            length = rng.integers(1, longest + 1)
            taste = rng.integers(1, CATEGORIES + 1, 2) if suffix == "pos" else np.arange(1, CATEGORIES + 1)
            items[row, history - length :] = rng.choice(np.flatnonzero(np.isin(category_of, taste)), length)
        columns[f"item_id_{suffix}"] = items
    for name in ("trgt", "pos", "neg"):
        columns[f"cat_id_{name}"] = category_of[columns[f"item_id_{name}"]]
    liked = (columns["cat_id_pos"] == columns["cat_id_trgt"][:, None]).any(axis=1)
    columns["label"] = liked.astype(np.int64)
    return columns


def write_tfrecord(path: Path, columns: Columns, prebatch: int = 1) -> None:
    import tensorflow as tf

    rows = len(columns["label"])
    with tf.io.TFRecordWriter(str(path)) as writer:
        for start in range(0, rows, prebatch):
            feature = {
                name: tf.train.Feature(
                    int64_list=tf.train.Int64List(value=values[start : start + prebatch].reshape(-1).tolist())
                )
                for name, values in columns.items()
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


DatasetWriter = Callable[..., Path]


@pytest.fixture(scope="session")
def write_dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetWriter:
    """write_dataset(train_rows=…, test_rows=…, prebatch=…, history=…, longest=…) -> dataset folder."""

    def write(
        train_rows: int = 600, test_rows: int = 200, prebatch: int = 1, history: int = 100, longest: int = 30
    ) -> Path:
        folder = tmp_path_factory.mktemp("dataset")
        for mapping, rows, seed in (("train", train_rows, 1), ("test", test_rows, 2)):
            columns = amazon_columns(rows, seed, history, longest)
            write_tfrecord(folder / f"{mapping}.tfrecord", columns, prebatch)
        sizes = {"train": train_rows, "test": test_rows}
        spec = FeatureSpec.from_dict(amazon_raw_spec(history, 0 if prebatch == 1 else prebatch, sizes), folder)
        spec.save(folder / "feature_spec.yaml")
        return folder

    return write


@pytest.fixture(scope="session")
def tiny_dataset(write_dataset: DatasetWriter) -> Path:
    return write_dataset()


@pytest.fixture(scope="session")
def raw_spec_of() -> Callable[..., dict]:
    return amazon_raw_spec


@pytest.fixture(scope="session")
def columns_of() -> Callable[..., Columns]:
    return amazon_columns


@pytest.fixture(scope="session")
def write_records() -> Callable[..., None]:
    return write_tfrecord
