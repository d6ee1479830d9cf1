from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from client import (
    DeadlineExceeded,
    GrpcTransport,
    InvalidInput,
    RetryPolicy,
    Scorer,
    ServerError,
    ServerUnavailable,
)

FAST = RetryPolicy(attempts=4, first_wait_s=0.001, longest_wait_s=0.002)


def test_splits_to_the_servers_limit_and_keeps_the_order(tools: Any) -> None:
    transport = tools.FakeTransport(max_batch_size=4)
    with Scorer(transport, in_flight=3) as scorer:
        scores = scorer.score(tools.fake_rows(18))
    assert scores.tolist() == pytest.approx([(i + 10) / 1000 for i in range(18)])
    assert scores.dtype == np.float32
    assert sorted(len(r["user_id"]) for r in transport.requests) == [2, 4, 4, 4, 4]
    assert 2 <= transport.most_at_once <= 3
    assert transport.is_closed


@pytest.mark.parametrize(("limit", "own", "expected"), [(4, 3, 3), (4, 100, 4), (None, 5, 5), (None, None, 10)])
def test_requests_have_the_smaller_of_both_batch_sizes(tools: Any, limit: Any, own: Any, expected: int) -> None:
    transport = tools.FakeTransport(max_batch_size=limit)
    Scorer(transport, batch_size=own, in_flight=1).score(tools.fake_rows(10))
    assert max(len(r["user_id"]) for r in transport.requests) == expected


def test_no_rows_give_no_scores_and_send_nothing(tools: Any) -> None:
    transport = tools.FakeTransport()
    scores = Scorer(transport).score({"user_id": [], "item_id_pos": [], "price": []})
    assert scores.shape == (0,)
    assert scores.dtype == np.float32
    assert transport.requests == []


def test_several_outputs_come_from_one_pass(tools: Any) -> None:
    transport = tools.FakeTransport(max_batch_size=100)
    outputs = Scorer(transport).score_outputs(tools.fake_rows(3), ["logit", "probability"])
    assert outputs["logit"].tolist() == [10, 11, 12]
    assert outputs["probability"].tolist() == pytest.approx([0.010, 0.011, 0.012])
    assert len(transport.requests) == 1


def test_an_unknown_output_is_refused_with_the_known_ones(tools: Any) -> None:
    with pytest.raises(InvalidInput, match=r"output 'score' is not served; model sim has: probability, logit"):
        Scorer(tools.FakeTransport()).score(tools.fake_rows(1), output="score")


@pytest.mark.parametrize("in_flight", [1, 3])
def test_unavailable_is_retried_until_it_works(tools: Any, in_flight: int) -> None:
    def twice(send: int) -> None:
        if send <= 2:
            raise ServerUnavailable("queue full")

    transport = tools.FakeTransport(max_batch_size=100, script=twice)
    scores = Scorer(transport, in_flight=in_flight, retries=FAST).score(tools.fake_rows(2))
    assert len(scores) == 2
    assert len(transport.requests) == 3


def test_retries_end_after_the_given_attempts(tools: Any) -> None:
    def always(send: int) -> None:
        raise ServerUnavailable("queue full")

    transport = tools.FakeTransport(script=always)
    with pytest.raises(ServerUnavailable, match="queue full"):
        Scorer(transport, in_flight=1, retries=FAST).score(tools.fake_rows(1))
    assert len(transport.requests) == 4


@pytest.mark.parametrize("error", [InvalidInput("bad shape"), ServerError("broken")])
def test_other_errors_are_never_retried(tools: Any, error: Exception) -> None:
    def fail(send: int) -> None:
        raise error

    transport = tools.FakeTransport(script=fail)
    with pytest.raises(type(error)):
        Scorer(transport, in_flight=1, retries=FAST).score(tools.fake_rows(1))
    assert len(transport.requests) == 1


def test_one_deadline_covers_requests_and_retries(tools: Any) -> None:
    def always(send: int) -> None:
        raise ServerUnavailable("queue full")

    transport = tools.FakeTransport(script=always)
    patient = RetryPolicy(attempts=1000, first_wait_s=0.02, longest_wait_s=0.02)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"not done after 0\.2 s.*deadline_s") as caught:
        Scorer(transport, in_flight=1, deadline_s=0.2, retries=patient).score(tools.fake_rows(1))
    assert time.monotonic() - started < 1.0
    assert isinstance(caught.value.__cause__, ServerUnavailable)
    assert len(transport.requests) > 3
    assert transport.timeouts == sorted(transport.timeouts, reverse=True)  # what remains, not the whole


def test_slow_requests_share_the_deadline(tools: Any) -> None:
    transport = tools.FakeTransport(max_batch_size=1, script=lambda send: time.sleep(0.05))
    with pytest.raises(DeadlineExceeded):
        Scorer(transport, in_flight=2, deadline_s=0.2).score(tools.fake_rows(100))
    assert len(transport.requests) < 20


def test_waits_grow_and_are_jittered() -> None:
    policy = RetryPolicy(first_wait_s=0.1, longest_wait_s=1.0)
    waits = [[policy.wait_s(failures) for _ in range(50)] for failures in (1, 2, 3, 10)]
    for wait, full in zip(waits, (0.1, 0.2, 0.4, 1.0), strict=True):
        assert full / 2 <= min(wait) < max(wait) <= full


def test_a_stream_reads_ahead_no_further_than_its_window(tools: Any) -> None:
    transport = tools.FakeTransport(max_batch_size=100)
    read = 0

    def batches() -> Iterator[dict[str, Any]]:
        nonlocal read
        for first in range(10):
            read += 1
            yield {**tools.fake_rows(1), "user_id": [first]}

    with Scorer(transport, in_flight=3) as scorer:
        answers = scorer.score_stream(batches(), ["logit"])
        assert next(answers)["logit"].tolist() == [10]
        assert read <= 4
        assert [a["logit"].tolist() for a in answers] == [[10 + i] for i in range(1, 10)]


def test_an_error_in_a_stream_stops_it(tools: Any) -> None:
    def third(send: int) -> None:
        if send == 3:
            raise ServerError("broken")

    transport = tools.FakeTransport(max_batch_size=1, script=third)
    with Scorer(transport, in_flight=2) as scorer, pytest.raises(ServerError, match="broken"):
        scorer.score(tools.fake_rows(50))
    assert len(transport.requests) < 10


def test_an_answer_with_other_rows_is_a_server_error(tools: Any) -> None:
    class Short(tools.FakeTransport):
        def infer(self, *args: Any) -> dict[str, np.ndarray]:
            return {name: value[:-1] for name, value in super().infer(*args).items()}

    with pytest.raises(ServerError, match=r"output probability: got the shape \[1, 1\]; expected 2 rows"):
        Scorer(Short(), in_flight=1).score(tools.fake_rows(2))


def test_follows_the_newest_version_unless_pinned(tools: Any) -> None:
    transport = tools.FakeTransport()
    scorer = Scorer(transport, in_flight=1)
    scorer.score(tools.fake_rows(1))
    scorer.pinned().score(tools.fake_rows(1))
    assert transport.versions == ["", "7"]
    assert transport.described == 1


@pytest.mark.parametrize("settings", [{"batch_size": 0}, {"in_flight": 0}, {"deadline_s": 0.0}])
def test_settings_out_of_range_are_refused(tools: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(settings))):
        Scorer(tools.FakeTransport(), **settings)


@pytest.mark.parametrize("in_flight", [1, 2])
def test_a_slow_reader_of_a_stream_does_not_use_up_its_deadline(tools: Any, in_flight: int) -> None:
    transport = tools.FakeTransport(max_batch_size=2)
    with Scorer(transport, in_flight=in_flight, deadline_s=0.2) as scorer:
        answers = scorer.score_stream([tools.fake_rows(6), tools.fake_rows(2)], ["logit"])
        got = []
        for answer in answers:
            got.append(answer["logit"])
            time.sleep(0.25)
    assert [len(g) for g in got] == [2, 2, 2, 2]
    assert min(transport.timeouts) > 0.1  # each request had its own


def test_an_interruption_does_not_wait_for_a_server_that_hangs(tools: Any) -> None:
    """The transport is closed first, which ends what threads wait for; then nobody waits for the threads."""
    import threading

    is_closed = threading.Event()

    class Hanging(tools.FakeTransport):
        def infer(self, *args: Any) -> dict[str, np.ndarray]:
            is_closed.wait(20)
            raise ServerError("closed")

        def close(self) -> None:
            is_closed.set()

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Scorer(Hanging(max_batch_size=1), in_flight=2) as scorer:
        stream = scorer.score_stream((_interrupted_at(i, 2, tools.fake_rows(1)) for i in range(9)), ["logit"])
        next(stream)
    assert time.monotonic() - started < 5


def _interrupted_at(index: int, last: int, rows: dict[str, Any]) -> dict[str, Any]:
    if index == last:
        raise KeyboardInterrupt
    return rows


@pytest.mark.parametrize("url", ["http://127.0.0.1:8001", "127.0.0.1", "127.0.0.1:0", ":8001", "a b:1", "host:99999"])
def test_an_address_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"url: got .*; expected host:port"):
        GrpcTransport(url)


@pytest.mark.parametrize("url", ["127.0.0.1:8001", "triton.example.org:8001", "[::1]:8001"])
def test_host_and_port_are_an_address(url: str) -> None:
    transport = GrpcTransport(url)
    assert transport.url == url
    transport.close()
