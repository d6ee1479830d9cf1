"""A fake transport, and rows of the tiny model in every format; TFRecord is written by TensorFlow itself."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client import ModelDescription, TensorDescription
from tests.client.reading import ROWS

Columns = dict[str, np.ndarray]
HISTORY = 5


class FakeTransport:
    """Answers user_id + sum(history). `script` is called with the number of each send and may raise."""

    def __init__(self, max_batch_size: int | None = 4, script: Callable[[int], None] | None = None) -> None:
        self.max_batch_size = max_batch_size
        self.script = script or (lambda send: None)
        self.requests: list[Mapping[str, np.ndarray]] = []
        self.timeouts: list[float] = []
        self.versions: list[str] = []
        self.described = 0
        self.at_once = self.most_at_once = 0
        self.is_closed = False
        self._lock = threading.Lock()

    def describe(self, model: str, version: str, timeout_s: float) -> ModelDescription:
        self.described += 1
        inputs = [TensorDescription("user_id", np.dtype(np.int32), (1,))]
        inputs += [TensorDescription("item_id_pos", np.dtype(np.int64), (HISTORY,))]
        inputs += [TensorDescription("price", np.dtype(np.float32), (1,))]
        outputs = [TensorDescription(name, np.dtype(np.float32), (1,)) for name in ("probability", "logit")]
        return ModelDescription(
            model, version or "7", {t.name: t for t in inputs}, {t.name: t for t in outputs}, self.max_batch_size
        )

    def infer(
        self, model: str, version: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], timeout_s: float
    ) -> dict[str, np.ndarray]:
        with self._lock:
            self.requests.append(inputs)
            self.timeouts.append(timeout_s)
            self.versions.append(version)
            send = len(self.requests)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.script(send)
            time.sleep(0.002 if send % 2 else 0.006)  # answers overtake each other
            value = (inputs["user_id"][:, 0] + inputs["item_id_pos"].sum(axis=1)).astype(np.float32)[:, np.newaxis]
            return {name: value if name == "logit" else value / 1000 for name in outputs}
        finally:
            with self._lock:
                self.at_once -= 1

    def close(self) -> None:
        self.is_closed = True


def fake_rows(count: int) -> dict[str, Any]:
    return {
        "user_id": np.arange(count),
        "item_id_pos": np.tile(np.arange(HISTORY), (count, 1)),
        "price": np.linspace(0, 1, count),
    }


def write_tfrecord(file: Path, columns: Columns, prebatch: int = 1, ragged: bool = False) -> None:
    """prebatch rows per record, flattened; ragged leaves the padding out."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(file)) as writer:
        for start in range(0, len(columns["label"]), prebatch):
            feature = {}
            for name, column in columns.items():
                flat = column[start : start + prebatch].reshape(-1)
                if ragged and column.ndim > 1:
                    flat = flat[flat > 0]
                feature[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=flat.tolist()))
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def write_parquet(file: Path, columns: Columns, names: Sequence[str] | None = None) -> None:
    """Histories as lists without padding."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    values = [[row[row > 0] for row in c] if c.ndim > 1 else c for c in columns.values()]
    pq.write_table(pa.table(dict(zip(names or columns, values, strict=True))), file, row_group_size=40)


def write_json_lines(file: Path, columns: Columns) -> None:
    """Histories as lists without padding."""
    rows = len(columns["label"])
    with file.open("w") as stream:
        for row in range(rows):
            values = {n: c[row][c[row] > 0].tolist() if c.ndim > 1 else int(c[row]) for n, c in columns.items()}
            stream.write(json.dumps(values) + "\n")


@pytest.fixture(scope="session")
def tools() -> Any:
    """The helpers of this file, for test modules, which cannot import a conftest."""
    import types

    return types.SimpleNamespace(
        FakeTransport=FakeTransport,
        fake_rows=fake_rows,
        write_tfrecord=write_tfrecord,
        write_parquet=write_parquet,
        write_json_lines=write_json_lines,
    )


@pytest.fixture(scope="session")
def tiny_inputs(tiny_model: Any) -> dict[str, TensorDescription]:
    """What the tiny model's server would say of its inputs."""
    served = tiny_model.served(tiny_model.spec.features)
    return {
        name: TensorDescription(name, np.dtype(np.int64), feature.dimensions or (1,))
        for name, feature in served.items()
    }


@pytest.fixture(scope="session")
def columns(tiny_model: Any) -> Columns:
    rows: Columns = tiny_model.rows(ROWS, seed=3)
    return rows
