"""Values of JSON lines and Parquet that do not fit name their row and feature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from client import DataFileError, TensorDescription
from tests.client.reading import read_all


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"user_id": 1}', "line 2, feature item_id_pos: got nothing; expected a value under 'item_id_pos'"),
        ('{"user_id": 1.5, "item_id_pos": []}', "feature user_id: got 1.5; expected int64"),
        ('{"user_id": [1, 2], "item_id_pos": []}', "feature user_id: got 2 values; expected one value"),
        ('{"user_id": null, "item_id_pos": []}', "feature user_id: got null; expected int64"),
        ('{"user_id": 1, "item_id_pos": [1, [2]]}', r"feature item_id_pos: got \[1, \[2\]\]; expected int64"),
        ("[1, 2]", "line 2: got list; expected an object"),
        ('{"user_id": ', "line 2: not JSON"),
    ],
)
def test_json_lines_errors_name_line_and_feature(tmp_path: Path, row: str, message: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"user_id": 1, "item_id_pos": [1, 2, 3]}\n' + row + "\n")
    inputs = {
        "user_id": TensorDescription("user_id", np.dtype(np.int64), (1,)),
        "item_id_pos": TensorDescription("item_id_pos", np.dtype(np.int64), (2,)),
    }
    with pytest.raises(DataFileError, match=message.replace("line 2, ", "row 2, ")):
        read_all(file, inputs)


@pytest.mark.parametrize(
    ("user", "history", "message"),
    [
        (pa.array([1, None, 3]), None, r"row 2, feature user_id: got no value \(null\)"),
        (pa.array([1.0, 2.0, 3.0]), None, "rows 1 to 3: input user_id: got values of float64; expected int64"),
        (pa.array(["a", "b", "c"]), None, "feature user_id: got a column of string"),
        (pa.array([[1], [2, 3], [4]]), None, "row 2, feature user_id: got 2 values; expected one value"),
        (None, pa.array([[1], [2, None], [3]]), "row 2, feature item_id_pos: got an item without value"),
    ],
)
def test_parquet_errors_name_row_and_feature(tmp_path: Path, user: Any, history: Any, message: str) -> None:
    file = tmp_path / "a.parquet"
    users = user if user is not None else pa.array([1, 2, 3])
    histories = history if history is not None else pa.array([[1], [2], []], pa.large_list(pa.int64()))
    pq.write_table(pa.table({"user_id": users, "item_id_pos": histories}), file)
    inputs = {
        "user_id": TensorDescription("user_id", np.dtype(np.int64), (1,)),
        "item_id_pos": TensorDescription("item_id_pos", np.dtype(np.int64), (2,)),
    }
    with pytest.raises(DataFileError, match=message):
        read_all(file, inputs)
