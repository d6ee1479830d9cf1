"""The native backend in a real Triton with a bounded queue: what waits, what is refused, and that work goes on."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.embedded import TritonServer
from serving.tool_folder import ToolFolder

pytestmark = pytest.mark.server

ROWS = 4  # of a batch at most
PRODUCTS, SIZE = 20, 400  # so that a batch takes some 25 ms
WARMUP = """model_warmup [ { name: "rows" batch_size: 4 count: 3
  inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 1 ] zero_data: true } } } ]"""
BATCHING = "dynamic_batching { }"
MODELS: dict[str, tuple[str, dict[str, str]]] = {
    "bounded": (BATCHING, {"MAX_QUEUE_SIZE": "4"}),
    "timed": (BATCHING, {"QUEUE_TIMEOUT_US": "60000"}),
    "narrow": (BATCHING, {"MAX_QUEUE_SIZE": "1", "QUEUE_TIMEOUT_US": "100000"}),
    "long": (BATCHING, {"MAX_QUEUE_SIZE": "1000"}),
    "alone": ("", {"MAX_QUEUE_SIZE": "3"}),
    "of_triton": ("dynamic_batching { default_queue_policy { max_queue_size: 64 } }", {}),
    "delayed": (
        "dynamic_batching { default_queue_policy { default_timeout_microseconds: 1000 timeout_action: DELAY } }", {}
    ),
    "prioritized": (
        "dynamic_batching { priority_levels: 2 default_priority_level: 1 "
        "default_queue_policy { max_queue_size: 1000 } }", {}
    ),
}  # fmt: skip
THREADS = {"TF_NUM_INTRA_THREADS": "1", "TF_NUM_INTER_THREADS": "1"}


@pytest.fixture(scope="module")
def slow_models(saved_models: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MODELS: y = 2x, slowly; they warm up with more requests than may wait."""
    import tensorflow as tf

    matrix = tf.constant(np.random.default_rng(0).normal(0, 1e-3, (SIZE, SIZE)).astype(np.float32))

    def run(x: tf.Tensor) -> dict[str, tf.Tensor]:
        busy = matrix * x[0, 0]
        for _ in range(PRODUCTS):
            busy = tf.linalg.matmul(busy, matrix)
        return {"y": 2 * x + tf.reduce_sum(busy) * 1e-30}

    folder = tmp_path_factory.mktemp("queue") / "models"
    for name, (batching, parameters) in MODELS.items():
        text = saved_models.config_text(
            [("x", "FP32", [1])], [("y", "FP32", [1])], max_batch_size=ROWS, parameters=parameters | THREADS,
            extra=batching + "\n" + (WARMUP if name != "prioritized" else ""),
        )  # fmt: skip
        if name == "bounded":
            saved_models.save(folder / name / "1", run, [tf.TensorSpec([None, 1], tf.float32, name="x")])
        else:
            (folder / name / "1").mkdir(parents=True)
            (folder / name / "1" / "model.savedmodel").symlink_to(folder / "bounded" / "1" / "model.savedmodel")
        (folder / name / "config.pbtxt").write_text(text)
    return folder


@pytest.fixture(scope="module")
def server(slow_models: Path, tools: ToolFolder, tmp_path_factory: pytest.TempPathFactory) -> Any:
    log = tmp_path_factory.mktemp("triton") / "triton.log"
    with TritonServer(slow_models, tools=tools, model_control_mode="explicit", log_file=log) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: TritonServer) -> Any:
    import tritonclient.grpc as triton

    with triton.InferenceServerClient(server.endpoints.grpc) as client:
        yield client


@pytest.fixture(scope="module")
def load(client: Any) -> Any:
    return client.load_model


class Answers:
    """Of requests with one row each, request n with the value n, in the order in which they came."""

    def __init__(self, client: Any, make_input: Any, model: str) -> None:
        self._client, self._make_input, self._model = client, make_input, model
        self._done = threading.Condition()
        self.values: dict[int, float] = {}
        self.errors: dict[int, Any] = {}
        self.seconds: dict[int, float] = {}
        self.sent = 0

    def send(self, count: int) -> None:
        for _ in range(count):
            number, start = self.sent, time.monotonic()
            self.sent += 1

            def keep(result: Any, error: Any, number: int = number, start: float = start) -> None:
                with self._done:
                    self.seconds[number] = time.monotonic() - start
                    if error is not None:
                        self.errors[number] = error
                    else:
                        self.values[number] = float(result.as_numpy("y")[0, 0])
                    self._done.notify_all()

            value = np.full([1, 1], number, np.float32)
            self._client.async_infer(self._model, [self._make_input("x", value)], keep)

    def wait(self) -> None:
        with self._done:
            assert self._done.wait_for(lambda: len(self.values) + len(self.errors) == self.sent, 30.0), (
                f"{self.sent} requests, {len(self.values)} answers, {len(self.errors)} errors"
            )
        for number, value in self.values.items():
            assert value == pytest.approx(2 * number)


@pytest.fixture
def answers(client: Any, load: Any, make_input: Any) -> Any:
    def of(model: str) -> Answers:
        load(model)
        return Answers(client, make_input, model)

    return of


def test_more_requests_than_may_wait_are_refused_at_once_and_the_others_answered(answers: Any) -> None:
    found = answers("bounded")
    found.send(60)
    found.wait()
    assert found.values
    assert found.errors
    for error in found.errors.values():
        assert "UNAVAILABLE" in error.status()
        assert "maximum queue size" in str(error)
    assert np.median([found.seconds[n] for n in found.errors]) < np.median([found.seconds[n] for n in found.values])


def test_the_model_computes_all_the_time_while_its_queue_is_full(answers: Any, client: Any) -> None:
    found = answers("bounded")
    before = client.get_inference_statistics("bounded").model_stats[0].execution_count
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        found.send(5)
        time.sleep(0.005)
    found.wait()
    executions = client.get_inference_statistics("bounded").model_stats[0].execution_count - before
    assert len(found.errors) > found.sent / 4, "the queue was never full"
    assert executions > 15, "Triton's own batcher comes to two a second"


def test_a_model_without_batching_has_a_bound_too_and_runs_requests_one_by_one(answers: Any, client: Any) -> None:
    found = answers("alone")
    before = client.get_inference_statistics("alone").model_stats[0]
    found.send(30)
    found.wait()
    after = client.get_inference_statistics("alone").model_stats[0]
    assert found.errors
    assert after.execution_count - before.execution_count == len(found.values)


def test_the_bound_of_tritons_own_queue_holds_here_too(answers: Any) -> None:
    found = answers("of_triton")
    found.send(200)
    found.wait()
    assert found.values
    assert found.errors


def test_what_waited_too_long_is_refused(answers: Any) -> None:
    found = answers("timed")
    found.send(60)
    found.wait()
    assert found.values
    assert found.errors
    for error in found.errors.values():
        assert "UNAVAILABLE" in error.status()
        assert "timeout expired" in str(error)


def test_what_finds_nobody_before_it_is_never_refused(answers: Any) -> None:
    """Neither the four requests of a warmup call, where one may wait, nor single ones."""
    found = answers("narrow")
    for _ in range(5):
        found.send(1)
        found.wait()
    assert not found.errors


@pytest.mark.parametrize("model", ["delayed", "prioritized"])
def test_rules_that_only_triton_can_keep_are_left_to_it(answers: Any, server: TritonServer, model: str) -> None:
    found = answers(model)
    found.send(20)
    found.wait()
    assert not found.errors
    reason = {"delayed": "timeout_action DELAY", "prioritized": "priority_levels"}[model]
    assert f"left to Triton because of {reason}" in server.log_file.read_text()


def test_parameters_beside_rules_of_triton_are_refused(client: Any, slow_models: Path) -> None:
    file = slow_models / "prioritized" / "config.pbtxt"
    before = file.read_text()
    file.write_text(before + 'parameters { key: "MAX_QUEUE_SIZE" value { string_value: "5" } }\n')
    try:
        with pytest.raises(Exception, match="MAX_QUEUE_SIZE and QUEUE_TIMEOUT_US would leave priority_levels without"):
            client.load_model("prioritized")
    finally:
        file.write_text(before)


def test_an_instance_that_is_added_under_load_warms_up_whatever_waits(
    answers: Any, client: Any, slow_models: Path
) -> None:
    found = answers("narrow")
    stop = threading.Event()

    def flood() -> None:
        while not stop.wait(0.01):
            found.send(2)

    file = slow_models / "narrow" / "config.pbtxt"
    text = file.read_text()
    thread = threading.Thread(target=flood)
    thread.start()
    try:
        file.write_text(text.replace("count: 1 kind", "count: 2 kind"))
        client.load_model("narrow")
    finally:
        stop.set()
        thread.join()
    found.wait()
    assert found.values
    assert client.get_model_config("narrow").config.instance_group[0].count == 2


def test_statistics_count_waiting_as_queue_time(answers: Any, client: Any) -> None:
    found = answers("long")
    before = client.get_inference_statistics("long").model_stats[0].inference_stats
    found.send(40)
    found.wait()
    deadline = time.monotonic() + 10.0
    while True:  # they are booked just after the response
        after = client.get_inference_statistics("long").model_stats[0].inference_stats
        if after.success.count - before.success.count == 40 or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    assert after.success.count - before.success.count == 40
    queue_ns, compute_ns = after.queue.ns - before.queue.ns, after.compute_infer.ns - before.compute_infer.ns
    assert queue_ns > compute_ns, "the last of ten batches waits for nine"


def test_a_model_that_is_unloaded_answers_those_that_wait(answers: Any, client: Any) -> None:
    found = answers("long")
    found.send(30)
    while not found.values:
        time.sleep(0.001)
    client.unload_model("long")
    found.wait()
    assert all("not ready" in str(error) or "unavailable" in str(error).lower() for error in found.errors.values())
    assert len(found.values) >= ROWS
    found = answers("long")
    found.send(1)
    found.wait()
    assert not found.errors
