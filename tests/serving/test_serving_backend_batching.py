"""The native backend in a real Triton: several requests in one batch, each with its own fate."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.server

TIMEOUT_S = 30.0


class Statistics:
    """A model's counters since this object was made."""

    def __init__(self, client: Any, model: str) -> None:
        self._client, self._model = client, model
        self._before = self._read()

    def _read(self) -> dict[str, int]:
        stats = self._client.get_inference_statistics(self._model).model_stats[0]
        counts = {
            "executions": stats.execution_count,
            "inferences": stats.inference_count,
            "success": stats.inference_stats.success.count,
            "fail": stats.inference_stats.fail.count,
            "compute_ns": stats.inference_stats.compute_infer.ns,
            "success_ns": stats.inference_stats.success.ns,
        }
        return counts | {f"batch_{batch.batch_size}": batch.compute_infer.count for batch in stats.batch_stats}

    def wait_for(self, requests: int) -> dict[str, int]:
        """The changes, once they cover that many requests: they are booked just after the response is sent."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            now = self._read()
            change = {key: value - self._before.get(key, 0) for key, value in now.items()}
            if change["success"] + change["fail"] >= requests:
                return change
            assert time.monotonic() < deadline, f"statistics never covered {requests} requests: {change}"
            time.sleep(0.01)


def pair_request(number: int, rows: int = 1) -> dict[str, np.ndarray]:
    ids = np.arange(rows * 3).reshape(rows, 3) + 1000 * number
    return {"ids": ids, "weight": np.full([rows, 1], 0.5, np.float32)}


def test_requests_are_merged_and_each_gets_its_own_rows(together: Any, client: Any, load: Any) -> None:
    load("pair")
    statistics = Statistics(client, "pair")
    requests = [pair_request(number, rows=1 + number % 4) for number in range(20)]
    rows = sum(len(request["ids"]) for request in requests)
    for request, answer in zip(requests, together("pair", requests), strict=True):
        np.testing.assert_array_equal(answer.as_numpy("twice"), 2 * request["ids"])
        np.testing.assert_array_equal(answer.as_numpy("total"), request["ids"].sum(1, keepdims=True) * 0.5)
    change = statistics.wait_for(20)
    assert change["inferences"] == rows
    assert change["success"] == 20
    assert change["fail"] == 0
    assert change["executions"] <= 10, f"20 requests were not merged: {change}"
    assert sum(count for key, count in change.items() if key.startswith("batch_")) == change["executions"]
    assert 0 < change["compute_ns"] < change["success_ns"]


def test_each_request_of_a_batch_gets_only_the_outputs_it_asked_for(together: Any) -> None:
    wanted = [["total"], ["twice"], ["total", "twice"], ["twice", "total"]] * 3
    answers = together("pair", [pair_request(number) for number in range(12)], wanted)
    for number, (names, answer) in enumerate(zip(wanted, answers, strict=True)):
        assert {output.name for output in answer.get_response().outputs} == set(names)
        if "twice" in names:
            np.testing.assert_array_equal(answer.as_numpy("twice"), 2 * pair_request(number)["ids"])
        if "total" in names:
            np.testing.assert_array_equal(answer.as_numpy("total"), [[(3 + 3000 * number) / 2]])


def test_a_run_time_failure_spares_its_neighbours(together: Any, client: Any, load: Any, saved_models: Any) -> None:
    load("picky")
    statistics = Statistics(client, "picky")
    guilty = {3, 7, 8}
    ids = [saved_models.TABLE_ROWS if number in guilty else number % 10 for number in range(12)]
    answers = together("picky", [{"ids": np.array([[value]])} for value in ids])
    for number, answer in enumerate(answers):
        if number in guilty:
            assert "is not in [0, 10)" in str(answer)
        else:
            np.testing.assert_array_equal(answer.as_numpy("value"), [[10.0 * ids[number]]])
    change = statistics.wait_for(12)
    assert (change["success"], change["fail"]) == (9, 3)


def test_different_widths_at_once_do_not_mix(together: Any) -> None:
    requests = [np.full([1 + number % 3, number % 5], number, np.float32) for number in range(20)]  # width 0 too
    answers = together("open_width", [{"x": x} for x in requests])
    for x, answer in zip(requests, answers, strict=True):
        np.testing.assert_array_equal(answer.as_numpy("sum"), x.sum(1, keepdims=True))
        np.testing.assert_array_equal(answer.as_numpy("same").reshape(x.shape), x)


def test_instances_that_run_in_their_own_threads(together: Any) -> None:
    requests = [np.full([1, 4], number, np.float32) for number in range(40)]
    answers = together("xla", [{"x": x} for x in requests])
    for x, answer in zip(requests, answers, strict=True):
        np.testing.assert_array_equal(answer.as_numpy("y"), 4 * x + 1)
