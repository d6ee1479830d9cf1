"""The native backend in a real Triton: request buffers that are read in place, and cancelled requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.embedded import TritonServer
from serving.tool_folder import ToolFolder

pytestmark = pytest.mark.server

ROWS, WIDTH = 64, 1000  # of the model `keeper`
BYTES = ROWS * WIDTH * 4


@pytest.fixture
def shared_memory(client: Any) -> Iterator[Any]:
    """A region that the server maps too: its buffers are aligned, so the backend may read them in place."""
    from tritonclient.utils import shared_memory as triton_memory

    region = triton_memory.create_shared_memory_region("backend_in", "/recserve_backend_in", BYTES)
    client.register_system_shared_memory("backend_in", "/recserve_backend_in", BYTES)
    yield region
    client.unregister_system_shared_memory("backend_in")
    triton_memory.destroy_shared_memory_region(region)


def score(client: Any, region: Any, model: str, x: np.ndarray, output: str) -> np.ndarray:
    import tritonclient.grpc as triton
    from tritonclient.utils import shared_memory as triton_memory

    triton_memory.set_shared_memory_region(region, [x])
    tensor = triton.InferInput("x", list(x.shape), "FP32")
    tensor.set_shared_memory("backend_in", x.nbytes)
    return client.infer(model, [tensor]).as_numpy(output)


def test_inputs_in_shared_memory_are_scored_in_place(client: Any, load: Any, shared_memory: Any) -> None:
    """`same` is the input itself: the graph hands out the very memory that it reads."""
    load("open_width")
    for number in range(20):
        x = np.full([ROWS, 1 + number], number, np.float32)
        np.testing.assert_array_equal(score(client, shared_memory, "open_width", x, "same"), x)


def test_a_graph_that_keeps_its_input_gets_a_copy(client: Any, load: Any, shared_memory: Any) -> None:
    """The next request overwrites the memory of the one before: an input read in place would change with it."""
    load("keeper")
    score(client, shared_memory, "keeper", np.zeros([1, WIDTH], np.float32), "y")
    for number in range(1, 20):
        x = np.full([1, WIDTH], number, np.float32)
        before = score(client, shared_memory, "keeper", x, "y")
        np.testing.assert_array_equal(before, np.full([1, WIDTH], number - 1))


@pytest.fixture(params=["true", "false"])
def slow_server(
    tools: ToolFolder, saved_models: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[TritonServer, bool]]:
    """A model that takes long, in a server of its own, and whether that drops cancelled requests. The server's gRPC
    frontend may crash when clients cancel (see docs/backend.md), and then only this test shall notice."""
    import tensorflow as tf

    def run(x: tf.Tensor) -> dict[str, tf.Tensor]:
        size = tf.cast(x[0, 0], tf.int32)
        steps = tf.while_loop(lambda i, _: i < size, lambda i, s: (i + 1, tf.sin(s)), [0, tf.ones([100, 100])])[1]
        return {"y": x + 1e-30 * tf.reduce_sum(steps)}  # times 0 would be optimised away

    saved_models.save(tmp_path / "models" / "slow" / "1", run, [tf.TensorSpec([None, None], tf.float32, name="x")])
    batching = "dynamic_batching { max_queue_delay_microseconds: 300000 preferred_batch_size: [ 64 ] }"
    ragged = 'input [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true } ]'
    text = saved_models.config_text([], [("y", "FP32", [-1])], extra=ragged + batching)
    (tmp_path / "models" / "slow" / "config.pbtxt").write_text(text)
    extra = [f"--backend-config=tensorflow,drop-cancelled={request.param}"]
    with TritonServer(tmp_path / "models", tools=tools, log_file=tmp_path / "log", extra_args=extra) as server:
        yield server, request.param == "true"


def test_a_cancelled_request_is_not_computed(slow_server: tuple[TritonServer, bool], make_input: Any) -> None:
    """Two requests come to the backend in one call, but their shapes differ, so they are computed one after the
    other: the second is cancelled during the first."""
    import tritonclient.grpc as triton

    server, drops = slow_server
    with triton.InferenceServerClient(server.endpoints.grpc) as client:
        ended: dict[str, Any] = {}
        done = threading.Semaphore(0)

        def send(name: str, x: list[float]) -> Any:
            def keep(result: Any, error: Any) -> None:
                ended[name] = error or result.as_numpy("y")
                done.release()

            return client.async_infer("slow", [make_input("x", np.array([x], np.float32))], keep)

        def counts() -> tuple[int, int]:
            stats = client.get_inference_statistics("slow").model_stats[0]
            return stats.execution_count, stats.inference_stats.success.count

        before = counts()
        send("slow", [20_000.0])
        cancelled = send("cancelled", [1.0, 2.0])
        time.sleep(0.5)  # 0.3 s of waiting for company, then the slow one is computed
        cancelled.cancel()
        for _ in range(2):
            assert done.acquire(timeout=60), ended
        np.testing.assert_array_equal(ended["slow"], [[20_000.0]])
        assert "CANCELLED" in str(ended["cancelled"].status())
        expected = 1 if drops else 2
        deadline = time.monotonic() + 20
        while counts()[0] - before[0] < expected and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.2)  # one too many would show by now
        assert counts()[0] - before[0] == expected
        assert counts()[1] - before[1] == expected
    assert server.is_running()
