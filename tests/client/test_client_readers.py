"""Files in every format give the rows that were written, in the order that a specification says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client import DataFileError, TensorDescription
from client.locate import open_rows
from tests.client.reading import ROWS, Inputs, assert_same, read_all
from training.feature_spec import FeatureSpec

WRITERS: dict[str, Callable[[Any, Path, dict[str, np.ndarray]], None]] = {
    "plain.tfrecord": lambda tools, file, c: tools.write_tfrecord(file, c),
    "ragged.tfrecord": lambda tools, file, c: tools.write_tfrecord(file, c, ragged=True),
    "prebatched.tfrecord": lambda tools, file, c: tools.write_tfrecord(file, c, prebatch=10),
    "rows.parquet": lambda tools, file, c: tools.write_parquet(file, c),
    "rows.jsonl": lambda tools, file, c: tools.write_json_lines(file, c),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("rows", [1, 16, 1000])
def test_every_format_gives_the_rows_that_were_written(
    tools: Any, tmp_path: Path, columns: dict[str, np.ndarray], tiny_inputs: Inputs, name: str, rows: int
) -> None:
    WRITERS[name](tools, tmp_path / name, columns)
    got, labels = read_all(tmp_path / name, tiny_inputs, rows)
    assert_same(got, columns)
    np.testing.assert_array_equal(labels, columns["label"])
    assert set(got) == set(tiny_inputs)


def test_limit_takes_the_first_rows(
    tools: Any, tmp_path: Path, columns: dict[str, np.ndarray], tiny_inputs: Inputs
) -> None:
    tools.write_tfrecord(tmp_path / "a.tfrecord", columns, prebatch=50)
    for limit in (7, 32, 40, 103, 500):
        got, labels = read_all(tmp_path / "a.tfrecord", tiny_inputs, limit=limit)
        assert len(labels) == min(limit, ROWS)
        assert_same(got, {name: c[:limit] for name, c in columns.items()})


def test_a_specification_names_files_label_and_order(
    tools: Any, tmp_path: Path, columns: dict[str, np.ndarray], tiny_inputs: Inputs, tiny_model: Any
) -> None:
    """Two chunks: ids in TFRecord over two files, prebatched; label and histories in Parquet, cut elsewhere."""
    raw = tiny_model.spec.to_dict()
    ids = ["user_id", "item_id_trgt", "cat_id_trgt"]
    rest = [name for name in columns if name not in ids]
    raw["source_spec"] = {
        "test": [
            {"type": "tfrecord", "features": ids, "files": ["b.tfrecord", "a.tfrecord"]},
            {"type": "parquet", "features": rest, "files": ["c.parquet"]},
        ]
    }
    FeatureSpec.from_dict(raw, tmp_path).save(tmp_path / "feature_spec.yaml")
    tools.write_tfrecord(
        tmp_path / "b.tfrecord", {"label": columns["label"][:60]} | {n: columns[n][:60] for n in ids}, 30
    )
    tools.write_tfrecord(tmp_path / "a.tfrecord", {"label": columns["label"][60:]} | {n: columns[n][60:] for n in ids})
    tools.write_parquet(tmp_path / "c.parquet", {n: columns[n] for n in rest})
    for data in (tmp_path, tmp_path / "feature_spec.yaml"):
        got, labels = read_all(data, tiny_inputs)
        assert_same(got, columns)
        np.testing.assert_array_equal(labels, columns["label"])

    tools.write_parquet(tmp_path / "c.parquet", {n: columns[n][:90] for n in rest})
    with pytest.raises(DataFileError, match="differ in their number of rows"):
        read_all(tmp_path, tiny_inputs)


def test_part_files_are_read_in_the_order_of_their_numbers(
    tools: Any, tmp_path: Path, columns: dict[str, np.ndarray], tiny_inputs: Inputs
) -> None:
    (tmp_path / "test").mkdir()
    for part in range(11):
        piece = {name: c[part * 10 : part * 10 + 10] for name, c in columns.items()}
        tools.write_parquet(tmp_path / "test" / f"part.{part}.parquet", piece)
    got, _ = read_all(tmp_path, tiny_inputs)
    assert_same(got, columns)


def test_parquet_columns_with_other_names_are_taken_in_the_specifications_order(
    tools: Any, tmp_path: Path, columns: dict[str, np.ndarray], tiny_inputs: Inputs, tiny_model: Any
) -> None:
    tiny_model.spec.save(tmp_path / "spec.yaml")
    ordered = {name: columns[name] for name in tiny_model.spec.features}
    tools.write_parquet(tmp_path / "a.parquet", ordered, [f"column_{i}" for i in range(len(ordered))])
    got, labels = read_all(tmp_path / "a.parquet", tiny_inputs, spec_file=tmp_path / "spec.yaml")
    assert_same(got, columns)
    np.testing.assert_array_equal(labels, columns["label"])
    with pytest.raises(DataFileError, match=r"no column user_id.*it has: column_0.*feature_spec\.yaml"):
        read_all(tmp_path / "a.parquet", tiny_inputs)


def test_rows_without_labels_are_read_too(
    tools: Any, tmp_path: Path, columns: dict[str, np.ndarray], tiny_inputs: Inputs
) -> None:
    with (tmp_path / "a.jsonl").open("w") as stream:
        for row in range(3):
            stream.write(json.dumps({n: columns[n][row].tolist() for n in tiny_inputs}) + "\n\n")
    got, labels = read_all(tmp_path / "a.jsonl", tiny_inputs)
    assert_same(got, {n: columns[n][:3] for n in columns})
    assert labels.size == 0


def test_places_that_hold_no_rows(tmp_path: Path, tiny_inputs: Inputs, tiny_model: Any) -> None:
    cases = {
        tmp_path / "none": "no such file or folder",
        tmp_path / "spec.yaml": "no such file",
        tmp_path: "got no data files",
    }
    for data, message in cases.items():
        with pytest.raises(DataFileError, match=message):
            open_rows(data)
    (tmp_path / "a.csv").touch()
    with pytest.raises(DataFileError, match=r"ending in '\.csv'; expected one of \.tfrecord, \.parquet, \.jsonl"):
        open_rows(tmp_path / "a.csv")
    (tmp_path / "bad.parquet").write_text("no Parquet")
    with pytest.raises(DataFileError, match="cannot be read as Parquet"):
        open_rows(tmp_path)
    tiny_model.spec.save(tmp_path / "feature_spec.yaml")
    with pytest.raises(DataFileError, match=r"mapping test: no such file: .*test\.tfrecord"):
        open_rows(tmp_path)


def test_a_dataset_of_another_width_is_refused(tmp_path: Path, tiny_inputs: Inputs, tiny_model: Any) -> None:
    tiny_model.spec.save(tmp_path / "feature_spec.yaml")
    (tmp_path / "test.tfrecord").touch()
    wider = {**tiny_inputs, "item_id_pos": TensorDescription("item_id_pos", np.dtype(np.int64), (100,))}
    with pytest.raises(DataFileError, match=r"feature item_id_pos: .* says 12 values a row; the model takes 100"):
        open_rows(tmp_path).batches(wider, 10)
