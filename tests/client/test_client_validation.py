from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from client import InvalidInput, Scorer, left_pad
from client.padding import left_pad_flat


@pytest.fixture
def scorer(tools: Any) -> Scorer:
    return Scorer(tools.FakeTransport(max_batch_size=100), in_flight=1)


def sent(scorer: Scorer, **features: Any) -> dict[str, np.ndarray]:
    scorer.score(features)
    return scorer._transport.requests[-1]


def test_scalars_may_come_as_one_or_two_dimensions_and_as_lists(scorer: Scorer, tools: Any) -> None:
    rows = tools.fake_rows(3)
    for user in (rows["user_id"], rows["user_id"][:, np.newaxis], [0, 1, 2]):
        inputs = sent(scorer, **{**rows, "user_id": user})
        assert inputs["user_id"].tolist() == [[0], [1], [2]]
        assert inputs["user_id"].dtype == np.int32
        assert inputs["price"].dtype == np.float32


def test_lists_of_histories_are_padded_on_the_left_and_keep_the_newest(scorer: Scorer) -> None:
    inputs = sent(scorer, user_id=[1, 2, 3], item_id_pos=[[4], [], [1, 2, 3, 4, 5, 6]], price=[0, 0, 0])
    assert inputs["item_id_pos"].tolist() == [[0, 0, 0, 0, 4], [0, 0, 0, 0, 0], [2, 3, 4, 5, 6]]
    assert inputs["item_id_pos"].dtype == np.int64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user_id": np.array([1.0, 2.0])}, r"input user_id: got values of float64; expected int32"),
        ({"user_id": np.array([1, 2**40])}, r"input user_id: got values from 1 to 1099511627776; expected int32"),
        ({"user_id": ["a", "b"]}, r"input user_id: got values of <U1; expected int32"),
        ({"user_id": np.array([[1, 2], [3, 4]])}, r"input user_id: got the shape \[2, 2\]; expected \[B\] or \[B, 1\]"),
        ({"user_id": 5}, r"input user_id: got the shape \[\]; expected \[B\] or \[B, 1\]"),
        ({"item_id_pos": np.zeros((2, 3), int)}, r"input item_id_pos: .*\[2, 3\]; expected \[B, 5\].*left_pad"),
        ({"item_id_pos": [[1.5], [2]]}, r"input item_id_pos: row 0: got a history of float64.*flat list of int64"),
        ({"item_id_pos": [[[1]], [[2]]]}, r"input item_id_pos: row 0: .*2 dimensions"),
        ({"user_id": [1, 2, 3]}, r"differ in their number of rows: user_id 3, item_id_pos 2, price 2"),
        ({"usr": [1, 2]}, r"inputs: unknown usr\. Model sim takes: user_id, item_id_pos, price"),
    ],
)  # fmt: skip
def test_bad_inputs_are_refused_before_sending(
    scorer: Scorer, tools: Any, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        scorer.score({**tools.fake_rows(2), **change})
    assert scorer._transport.requests == []


def test_missing_and_unknown_inputs_are_named_together(scorer: Scorer) -> None:
    with pytest.raises(InvalidInput, match=r"missing item_id_pos, price; unknown item"):
        scorer.score({"user_id": [1], "item": [2]})


def test_left_pad_names_the_row_and_agrees_with_its_flat_form() -> None:
    rows = [[1, 2, 3], [], [4], [5, 6]]
    flat = left_pad_flat(np.array([1, 2, 3, 4, 5, 6]), np.array([3, 0, 1, 2]), 2)
    assert flat.tolist() == left_pad(rows, 2).tolist() == [[2, 3], [0, 0], [0, 4], [5, 6]]
    with pytest.raises(ValueError, match="row 1"):
        left_pad([[1], [0.5]], 2)
