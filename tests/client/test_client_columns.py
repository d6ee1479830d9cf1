"""Folders whose files do not hold the same columns, and files without rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client import DataFileError
from client.locate import open_rows
from client.readers.tfrecord import records
from tests.client.reading import ROWS, Inputs


def test_a_later_parquet_file_without_a_column_is_named(
    tools: Any, tmp_path: Path, columns: dict[str, np.ndarray], tiny_inputs: Inputs
) -> None:
    tools.write_parquet(tmp_path / "part.0.parquet", columns)
    tools.write_parquet(tmp_path / "part.1.parquet", {n: c for n, c in columns.items() if n != "user_id"})
    with pytest.raises(DataFileError, match=r"part\.1\.parquet: no column user_id; it has: label, item_id_trgt"):
        list(open_rows(tmp_path).batches(tiny_inputs, 16))


@pytest.mark.parametrize("ending", ["jsonl", "tfrecord"])
def test_empty_files_hold_no_rows(
    tools: Any, tmp_path: Path, columns: dict[str, np.ndarray], tiny_inputs: Inputs, ending: str
) -> None:
    (tmp_path / f"part.0.{ending}").touch()
    with pytest.raises(DataFileError, match=rf"part\.0\.{ending}: holds no rows\. "):
        open_rows(tmp_path / f"part.0.{ending}")
    write = tools.write_json_lines if ending == "jsonl" else tools.write_tfrecord
    write(tmp_path / f"part.1.{ending}", columns)
    batches = list(open_rows(tmp_path).batches(tiny_inputs, ROWS))
    assert [len(label) for _, label in batches if label is not None] == [ROWS]


@pytest.mark.parametrize("ending", ["jsonl", "tfrecord", "parquet"])
def test_a_label_that_only_later_rows_have_is_an_error(
    tools: Any, tmp_path: Path, columns: dict[str, np.ndarray], tiny_inputs: Inputs, ending: str
) -> None:
    writers = {"jsonl": tools.write_json_lines, "tfrecord": tools.write_tfrecord, "parquet": tools.write_parquet}
    places = {"jsonl": "part.1.jsonl, line 1", "tfrecord": "part.1.tfrecord, record 1", "parquet": "part.1.parquet"}
    write, place = writers[ending], places[ending]
    bare = {**{n: c for n, c in columns.items() if n != "label"}, "other": columns["label"]}
    if ending != "parquet":  # these writers count the rows by the label
        write(tmp_path / "labelled", {"label": columns["label"], **bare})
    if ending == "jsonl":
        lines = [json.loads(line) for line in (tmp_path / "labelled").read_text().splitlines()]
        text = "".join(json.dumps({n: v for n, v in line.items() if n != "label"}) + "\n" for line in lines)
        (tmp_path / "part.0.jsonl").write_text(text)
    elif ending == "tfrecord":
        write_unlabelled_tfrecord(tmp_path / "part.0.tfrecord", tmp_path / "labelled")
    else:
        write(tmp_path / "part.0.parquet", bare)
    write(tmp_path / f"part.1.{ending}", columns)
    with pytest.raises(DataFileError, match=rf"{place}: got a column label, which the first rows do not have"):
        list(open_rows(tmp_path).batches(tiny_inputs, 16))


def write_unlabelled_tfrecord(file: Path, labelled: Path) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(file)) as writer:
        for data in records(labelled):
            example = tf.train.Example.FromString(data)
            del example.features.feature["label"]
            writer.write(example.SerializeToString())
