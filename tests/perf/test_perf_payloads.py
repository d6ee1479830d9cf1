from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from client import TensorDescription
from perf.errors import MeasureError
from perf.payloads import perf_analyzer_json, random_rows
from training.feature_spec import FeatureSpec


@pytest.fixture
def inputs(tiny_model: Any) -> dict[str, TensorDescription]:
    return {
        name: TensorDescription(name, np.dtype(np.int64), feature.dimensions or (1,))
        for name, feature in tiny_model.served(tiny_model.spec.features).items()
    }


def test_ids_fill_their_tables_and_never_leave_them(tiny_model: Any, inputs: dict[str, TensorDescription]) -> None:
    rows = random_rows(tiny_model.spec, inputs, 2000, seed=1)
    assert set(rows) == set(inputs)
    for name, column in rows.items():
        size = tiny_model.spec.features[name].cardinality
        assert column.dtype == np.int64
        assert column.shape == (2000, *inputs[name].shape)
        assert column[column > 0].min() == 1
        assert column.max() == size
        assert set(np.unique(column)) <= set(range(size + 1))
    assert rows["user_id"].min() == 1


def test_histories_of_a_row_share_their_length_and_are_padded_on_the_left(
    tiny_model: Any, inputs: dict[str, TensorDescription]
) -> None:
    rows = random_rows(tiny_model.spec, inputs, 2000)
    present = rows["item_id_pos"] > 0
    np.testing.assert_array_equal(present, rows["cat_id_pos"] > 0)
    assert (np.diff(present.astype(int), axis=1) >= 0).all()  # zeros, then ids
    lengths = present.sum(axis=1)
    assert set(lengths) == set(range(1, 13))
    assert (lengths == 1).mean() > (lengths == 12).mean()


def test_the_seed_decides(tiny_model: Any, inputs: dict[str, TensorDescription]) -> None:
    one, same, other = (random_rows(tiny_model.spec, inputs, 50, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(one[n], same[n]) for n in inputs)
    assert not all(np.array_equal(one[n], other[n]) for n in inputs)


def test_numerical_features_and_served_dtypes() -> None:
    raw = {
        "feature_spec": {"price": {"dtype": "float32"}, "is_new": {"dtype": "bool"}, "clicked": {"dtype": "bool"}},
        "source_spec": {"test": [{"type": "csv", "features": ["price"], "files": ["a.csv"]}]},
        "channel_spec": {"numerical": ["price", "is_new"], "label": ["clicked"]},
    }
    inputs = {
        "price": TensorDescription("price", np.dtype(np.float32), (1,)),
        "is_new": TensorDescription("is_new", np.dtype(bool), (1,)),
    }
    rows = random_rows(FeatureSpec.from_dict(raw), inputs, 100)
    assert rows["price"].dtype == np.float32
    assert 0 <= rows["price"].min() < rows["price"].max() < 1
    assert set(rows["is_new"].reshape(-1).tolist()) == {True, False}


def test_an_input_that_the_specification_lacks_is_an_error(tiny_model: Any) -> None:
    inputs = {"age": TensorDescription("age", np.dtype(np.int64), (1,))}
    with pytest.raises(MeasureError, match=r"inputs age: .*does not describe them"):
        random_rows(tiny_model.spec, inputs, 5)


def test_perf_analyzers_json_has_an_entry_a_row_without_the_batch_axis() -> None:
    columns = {"user_id": np.array([[3], [4]]), "item_id_pos": np.array([[0, 1], [2, 3]])}
    assert perf_analyzer_json(columns) == {
        "data": [
            {"user_id": {"content": [3], "shape": [1]}, "item_id_pos": {"content": [0, 1], "shape": [2]}},
            {"user_id": {"content": [4], "shape": [1]}, "item_id_pos": {"content": [2, 3], "shape": [2]}},
        ]
    }
