"""Ranking: what is sent for a user with many candidates, how it is split and joined, and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from client import InvalidInput, ModelDescription, Scorer, ServerError, TensorDescription
from client.rank_request import RankLayout, checked_request

STEPS = 6
INT64, FLOAT32 = np.dtype(np.int64), np.dtype(np.float32)
INPUTS = {
    "user_id": (INT64, (1,)), "item": (np.dtype(np.int32), (-1,)), "category": (INT64, (-1,)),
    "items_seen": (INT64, (-1,)), "categories_seen": (INT64, (-1,)),
}  # fmt: skip


class RankServer:
    """logit = item + 100·user_id + 10000·(sum of the history); probability is a hundredth of it. Remembers requests."""

    def __init__(self, max_batch_size: int | None = 2, parameters: Mapping[str, str] | None = None) -> None:
        default = {"RANK_CANDIDATES": "item,category", "RANK_HISTORY_STEPS": str(STEPS)}
        self.parameters = default if parameters is None else parameters
        self.max_batch_size = max_batch_size
        self.requests: list[Mapping[str, np.ndarray]] = []
        self.cut_answers = 0
        self._lock = threading.Lock()

    def describe(self, model: str, version: str, timeout_s: float) -> ModelDescription:
        inputs = {name: TensorDescription(name, *tensor) for name, tensor in INPUTS.items()}
        outputs = {name: TensorDescription(name, FLOAT32, (-1,)) for name in ("probability", "logit")}
        return ModelDescription(model, version or "3", inputs, outputs, self.max_batch_size, self.parameters)

    def infer(
        self, model: str, version: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], timeout_s: float
    ) -> dict[str, np.ndarray]:
        with self._lock:
            self.requests.append(inputs)
        for name, (dtype, _) in INPUTS.items():
            assert inputs[name].dtype == dtype
            assert inputs[name].flags.c_contiguous
        history = inputs["items_seen"].sum(axis=1, keepdims=True)
        logit = (inputs["item"] + 100 * inputs["user_id"] + 10_000 * history).astype(np.float32)
        logit = logit[:, self.cut_answers :]
        return {name: logit if name == "logit" else logit / 100 for name in outputs}

    def close(self) -> None: ...


def one_user(candidates: int = 5) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    items = list(range(1, candidates + 1))
    return {"user_id": 7}, {"items_seen": [1, 2], "categories_seen": [3, 3]}, {"item": items, "category": items}


def test_one_user_is_sent_once_with_the_steps_that_there_are() -> None:
    server = RankServer()
    with Scorer(server, "sim_rank") as scorer:
        scores = scorer.rank(*one_user(), output="logit")
    assert scores.tolist() == [30_000 + 700 + item for item in range(1, 6)]
    assert scores.dtype == np.float32
    (request,) = server.requests
    assert {name: value.shape for name, value in request.items()} == {
        "user_id": (1, 1), "items_seen": (1, 2), "categories_seen": (1, 2), "item": (1, 5), "category": (1, 5),
    }  # fmt: skip


@pytest.mark.parametrize("in_flight", [1, 3])
@pytest.mark.parametrize(("candidates", "most", "sizes"), [(7, 3, [3, 3, 1]), (6, 3, [3, 3]), (1, 3, [1]), (0, 3, [])])
def test_many_candidates_go_in_several_requests(in_flight: int, candidates: int, most: int, sizes: list[int]) -> None:
    server = RankServer()
    with Scorer(server, "sim_rank", in_flight=in_flight, candidates_per_request=most) as scorer:
        scores = scorer.rank(*one_user(candidates))
    assert sorted((r["item"].shape[1] for r in server.requests), reverse=True) == sizes
    np.testing.assert_allclose(scores, [(30_700 + item) / 100 for item in range(1, candidates + 1)])


def test_several_users_have_their_own_candidates_and_the_longest_history_decides_the_steps() -> None:
    server = RankServer(max_batch_size=2)
    items = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    history = {"items_seen": [[1], [], [1, 1, 1]], "categories_seen": [[1], [], [1, 1, 1]]}
    with Scorer(server, "sim_rank", candidates_per_request=2) as scorer:
        scores = scorer.rank({"user_id": [1, 2, 3]}, history, {"item": items, "category": items}, output="logit")
    assert scores.tolist() == (items + np.array([[10_100], [200], [30_300]])).tolist()
    assert sorted(r["item"].shape for r in server.requests) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert {r["items_seen"].shape[1] for r in server.requests} == {3}


@pytest.mark.parametrize(
    ("seen", "sent"),
    [
        ([], [0]),
        ([0, 0, 4, 0, 5], [4, 0, 5]),
        (list(range(1, 10)), [4, 5, 6, 7, 8, 9]),
        (np.array([0, 0, 0, 0, 0, 8]), [8]),
    ],
)
def test_steps_are_the_newest_ones_without_leading_padding(seen: Any, sent: list[int]) -> None:
    server = RankServer()
    user, _, candidates = one_user()
    Scorer(server, "sim_rank").rank(user, {"items_seen": seen, "categories_seen": seen}, candidates)
    assert server.requests[0]["items_seen"].tolist() == [sent]


def test_the_best_come_sorted_with_their_positions() -> None:
    server = RankServer()
    user, history, _ = one_user()
    candidates = {"item": [3, 9, 5, 9], "category": [1, 1, 1, 1]}
    with Scorer(server, "sim_rank") as scorer:
        top = scorer.rank_top(user, history, candidates, n=3)
        everything = scorer.rank_top(user, history, candidates)
        with pytest.raises(InvalidInput, match="n: got 0; expected at least 1"):
            scorer.rank_top(user, history, candidates, n=0)
    assert top.order.tolist() == [1, 3, 2]
    assert top.scores.tolist() == [30_709, 30_709, 30_705]
    assert everything.order.tolist() == [1, 3, 2, 0]


def test_a_stream_keeps_the_order_whatever_the_sizes() -> None:
    server = RankServer()
    layout = RankLayout.of(server.describe("sim_rank", "", 1.0))
    sizes = [3, 0, 8, 1, 0]
    with Scorer(server, "sim_rank", candidates_per_request=2, in_flight=3) as scorer:
        requests = (checked_request(*one_user(n), layout) for n in sizes)
        answers = list(scorer.rank_stream(requests, ["logit", "probability"]))
    assert [len(a["logit"]) for a in answers] == sizes
    for answer, size in zip(answers, sizes, strict=True):
        np.testing.assert_allclose(answer["logit"], 30_700 + np.arange(1, size + 1))
        np.testing.assert_allclose(answer["probability"], answer["logit"] / 100)


def changed(part: int, **values: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """one_user with other values in its user (0), history (1) or candidates (2); None removes a name."""
    request = list(one_user())
    request[part] = {n: v for n, v in {**request[part], **values}.items() if v is not None}
    return tuple(request)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("request_of", "message"),
    [
        (changed(0, user_id=None), r"user: missing user_id\. Model sim_rank takes: user_id"),
        (changed(0, age=3), r"user: unknown age"),
        (changed(1, categories_seen=None), r"history: missing categories_seen"),
        (changed(2, category=None), r"candidates: missing category. Model sim_rank takes: item, category"),
        (changed(0, user_id=[1, 2]), r"input user_id: got the shape \[2\]; expected one value"),
        (changed(0, user_id=1.5), r"input user_id: got values of float64; expected int64"),
        (changed(1, items_seen=[1]), r"history categories_seen: got 2 steps for user 0, where items_seen has 1"),
        (
            changed(1, items_seen=[[1, 2]]),
            r"input items_seen: got steps of the shape \[1, 2\]",
        ),
        (changed(1, items_seen=4), r"input items_seen: got steps of the shape \[\]; expected a flat list of steps"),
        (changed(2, category=[1, 2]), r"candidates differ in their number of candidates: item 5, category 2"),
        (changed(2, item=[2**40] * 5), r"input item: got values from .* expected int32"),
        (changed(2, item=[[1, 2], [3]], category=[[1, 2], [3]]), r"input item: .*rank users with other numbers"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_sent(request_of: Any, message: str) -> None:
    server = RankServer()
    with pytest.raises(InvalidInput, match=message):
        Scorer(server, "sim_rank").rank(*request_of)
    assert server.requests == []


def test_users_of_different_counts_are_refused() -> None:
    items = [[1, 2], [3, 4]]
    history = {"items_seen": [[1], [2]], "categories_seen": [[1], [2]]}
    with pytest.raises(InvalidInput, match=r"inputs differ in their number of users: .*user_id 3"):
        Scorer(RankServer(), "sim_rank").rank({"user_id": [1, 2, 3]}, history, {"item": items, "category": items})


def test_a_pointwise_model_says_which_one_ranks() -> None:
    with pytest.raises(InvalidInput, match=r"model sim does not rank: .* sim_rank"):
        Scorer(RankServer(parameters={}), "sim").rank(*one_user())


def test_an_answer_of_another_size_is_an_error_of_the_server() -> None:
    server = RankServer()
    server.cut_answers = 5
    with pytest.raises(ServerError, match=r"output probability: got the shape \[1, 0\]; expected 1 users"):
        Scorer(server, "sim_rank").rank(*one_user())
