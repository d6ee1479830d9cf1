"""The hand-made protobuf bytes against TensorFlow's own parser."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from training.preprocessing.example_encoder import encode_examples

NAMES = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=4, unique=True)


def split(encoded: tuple[np.ndarray, np.ndarray]) -> list[bytes]:
    text, ends = encoded[0].tobytes(), encoded[1]
    return [text[a:b] for a, b in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)]


def parse(record: bytes) -> dict[str, list[int]]:
    import tensorflow as tf

    return {n: list(f.int64_list.value) for n, f in tf.train.Example.FromString(record).features.feature.items()}


@settings(deadline=None, max_examples=60)
@given(data=st.data(), names=NAMES, records=st.integers(1, 5), high=st.sampled_from([0, 1, 127, 128, 2**21, 2**63 - 1]))
def test_any_columns_come_back_as_they_were(data: st.DataObject, names: list[str], records: int, high: int) -> None:
    columns = {
        name: data.draw(hnp.arrays(np.int64, (records, data.draw(st.integers(1, 40))), elements=st.integers(0, high)))
        for name in names
    }
    parsed = [parse(record) for record in split(encode_examples(columns))]
    assert parsed == [{name: values[row].tolist() for name, values in columns.items()} for row in range(records)]


@settings(deadline=None, max_examples=30)
@given(values=hnp.arrays(np.int64, (2, 7), elements=st.integers(-(2**63), 2**63 - 1)))
def test_the_whole_range_of_int64_comes_back(values: np.ndarray) -> None:
    assert [parse(r)["x"] for r in split(encode_examples({"x": values}))] == values.tolist()


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, np.uint32])
def test_every_integer_type_is_encoded_alike(dtype: type) -> None:
    values = np.array([[0, 5, 127], [200, 0, 0]], dtype=dtype)
    assert split(encode_examples({"x": values})) == split(encode_examples({"x": values.astype(np.int64)}))


def test_the_bytes_are_what_tensorflow_writes() -> None:
    import tensorflow as tf

    values = np.array([[0, 1, 127, 128, 16383, 16384, 3_000_000_000]])
    feature = tf.train.Feature(int64_list=tf.train.Int64List(value=values[0]))
    expected = tf.train.Example(features=tf.train.Features(feature={"item_id": feature})).SerializeToString()
    assert encode_examples({"item_id": values})[0].tobytes() == expected


def test_lengths_of_more_than_two_bytes() -> None:
    values = np.arange(40_000).reshape(1, -1)  # what a prebatched history looks like
    assert parse(encode_examples({"a": values, "b": values[:, :200]})[0].tobytes())["a"] == values[0].tolist()


def test_defect_1_trailing_zero_bytes_stay() -> None:
    columns = {"label": np.array([[0], [1]]), "history": np.zeros((2, 300), np.int32)}
    records = split(encode_examples(columns))
    assert [r[-300:] for r in records] == [bytes(300)] * 2
    assert [parse(r) for r in records] == [{"label": [label], "history": [0] * 300} for label in (0, 1)]
