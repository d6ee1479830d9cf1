"""The native backend in a real Triton: batches padded to a few sizes, so that XLA compiles only while loading."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.embedded import TritonServer
from serving.tool_folder import ToolFolder

pytestmark = pytest.mark.server

BATCHING = "dynamic_batching { max_queue_delay_microseconds: 20000 preferred_batch_size: [ 64 ] }"
SIZES = [1, 4, 16, 64]
BUCKETS = {"BATCH_BUCKETS": ",".join(map(str, SIZES))}
WARM = {**BUCKETS, "WARM_BUCKETS": "true"}
TENSORS = ([("x", "FP32", [4])], [("y", "FP32", [4]), ("rows", "INT32", [1])])


def add_model(repository: Path, saved_models: Any, name: str, jit_compile: bool | None, **options: Any) -> None:
    """y = relu(x w) + 1, and on every row the number of rows that the graph saw."""
    import tensorflow as tf

    weights = tf.Variable(tf.ones([4, 4]))

    def run(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            "y": tf.nn.relu(tf.linalg.matmul(x, weights)) + 1.0,
            "rows": tf.zeros_like(x[:, :1], tf.int32) + tf.shape(x)[0],
        }

    specs = [tf.TensorSpec([None, 4], tf.float32, name="x")]
    saved_models.save(repository / name / "1", run, specs, [weights], jit_compile=jit_compile)
    text = saved_models.config_text(*TENSORS, **{"extra": BATCHING, **options})
    (repository / name / "config.pbtxt").write_text(text)


class XlaServer:
    """A server whose log tells every compilation of XLA."""

    def __init__(self, server: TritonServer, client: Any) -> None:
        self.server, self.client = server, client

    def compilations(self) -> int:
        return len(re.findall(r"device_compilation_profiler.*[Cc]ompiled ", self.server.log_file.read_text()))


@pytest.fixture(scope="module")
def xla(tools: ToolFolder, saved_models: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[XlaServer]:
    import tritonclient.grpc as triton

    repository = tmp_path_factory.mktemp("xla")
    level = f"{BATCHING} optimization {{ graph {{ level: 1 }} }}"
    add_model(repository, saved_models, "warm", True, parameters=WARM, instances=2)
    add_model(repository, saved_models, "cold", True, parameters=BUCKETS)
    add_model(repository, saved_models, "clustered", None, parameters=WARM, extra=level)
    add_model(repository, saved_models, "plain", None)
    off = level.replace("level: 1", "level: -1")
    add_model(repository, saved_models, "off", None, parameters=WARM, extra=off)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
        patch.setenv("TF_CPP_VMODULE", "device_compilation_profiler=1")
        server = TritonServer(repository, tools=tools, model_control_mode="explicit", log_file=repository / "log")
        with server, triton.InferenceServerClient(server.endpoints.grpc) as client:
            yield XlaServer(server, client)


@pytest.fixture
def score(xla: XlaServer, make_input: Any) -> Callable[..., dict[str, np.ndarray]]:
    def call(model: str, x: np.ndarray) -> dict[str, np.ndarray]:
        result = xla.client.infer(model, [make_input("x", x)])
        return {name: result.as_numpy(name) for name in ("y", "rows")}

    return call


def rows_of(number: int) -> np.ndarray:
    return np.arange(number * 4, dtype=np.float32).reshape(number, 4)


@pytest.mark.parametrize("model", ["warm", "clustered"])
def test_mixed_sizes_after_the_warm_up_compile_nothing(xla: XlaServer, score: Any, model: str) -> None:
    before = xla.compilations()
    xla.client.load_model(model)
    warmed = xla.compilations()
    assert warmed - before >= len(SIZES), "the warm-up compiled less than one program per size"
    for rows in [3, 1, 17, 64, 2, 5, 16, 33, 4, 15, 63]:
        x = rows_of(rows)
        result = score(model, x)
        np.testing.assert_allclose(result["y"], x.sum(1, keepdims=True).repeat(4, 1) + 1)
        assert set(result["rows"].ravel()) == {min(size for size in SIZES if size >= rows)}
    assert xla.compilations() == warmed


def test_without_the_warm_up_each_size_compiles_once(xla: XlaServer, score: Any) -> None:
    """Shows that the count above can rise."""
    xla.client.load_model("cold")
    before = xla.compilations()
    for rows, compiled in [(3, 1), (2, 1), (5, 2), (16, 2), (1, 3), (4, 3)]:
        score("cold", rows_of(rows))
        assert xla.compilations() - before == compiled


@pytest.mark.parametrize("model", ["plain", "off"])
def test_without_graph_level_nothing_is_clustered(xla: XlaServer, score: Any, model: str) -> None:
    before = xla.compilations()
    xla.client.load_model(model)
    for _ in range(4):
        np.testing.assert_allclose(score(model, np.ones([3, 4], np.float32))["y"], np.full([3, 4], 5.0))
    assert xla.compilations() == before


def test_only_the_requested_rows_count_in_the_statistics(xla: XlaServer, score: Any) -> None:
    xla.client.load_model("warm")
    read = lambda: xla.client.get_inference_statistics("warm").model_stats[0]  # noqa: E731
    before = read()
    score("warm", rows_of(5))
    deadline = time.monotonic() + 30.0
    while (after := read()).execution_count == before.execution_count:  # booked just after the response is sent
        assert time.monotonic() < deadline, "the request was never booked"
        time.sleep(0.01)
    assert after.inference_count - before.inference_count == 5


def add_linked(repository: Path, of: str, name: str, text: str) -> None:
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "1" / "model.savedmodel").symlink_to(repository / of / "1" / "model.savedmodel")
    (repository / name / "config.pbtxt").write_text(text)


def test_strings_and_small_numbers_are_padded_and_cut(
    client: Any, repository: Path, saved_models: Any, make_input: Any
) -> None:
    for of, name, x in [
        ("echo_string", "STRING", np.array([[b"a", b"", b"c" * 100]] * 3, np.object_)),
        ("echo_bool", "BOOL", np.array([[True, False, False]] * 3)),
    ]:
        text = saved_models.config_text([("x", name, [3])], [("y", name, [3])], parameters={"BATCH_BUCKETS": "8"})
        add_linked(repository, of, f"padded_{of}", text)
        client.load_model(f"padded_{of}")
        result = client.infer(f"padded_{of}", [make_input("x", x)]).as_numpy("y")
        np.testing.assert_array_equal(result, x[:, ::-1])


def test_padding_repeats_a_real_row(client: Any, repository: Path, saved_models: Any, make_input: Any) -> None:
    """Every row of this graph tells the lowest value of the batch: with zeros in the padding it would be 0."""
    import tensorflow as tf

    specs = [tf.TensorSpec([None, 1], tf.int64, name="x")]
    saved_models.save(repository / "lowest" / "1", lambda x: {"y": tf.zeros_like(x) + tf.reduce_min(x)}, specs)
    text = saved_models.config_text([("x", "INT64", [1])], [("y", "INT64", [1])], parameters={"BATCH_BUCKETS": "8"})
    (repository / "lowest" / "config.pbtxt").write_text(text)
    client.load_model("lowest")
    result = client.infer("lowest", [make_input("x", np.array([[9], [7], [8]]))]).as_numpy("y")
    np.testing.assert_array_equal(result, [[7], [7], [7]])


def test_a_graph_that_loses_rows_is_refused_while_warming(client: Any, repository: Path, saved_models: Any) -> None:
    from tritonclient.utils import InferenceServerException

    text = saved_models.config_text([("x", "FP32", [2])], [("y", "FP32", [2])], parameters=WARM)
    add_linked(repository, "not_batching", "padded_not_batching", text)
    with pytest.raises(
        InferenceServerException, match=r"warming the batch size 4 .* output 'y' .* \[1,2\], expected \[4"
    ):
        client.load_model("padded_not_batching")


def test_open_dimensions_cannot_be_warmed_by_the_backend(client: Any, repository: Path, saved_models: Any) -> None:
    from tritonclient.utils import InferenceServerException

    text = saved_models.config_text([("x", "FP32", [-1])], [("sum", "FP32", [1])], parameters=WARM)
    add_linked(repository, "open_width", "padded_open_width", text)
    with pytest.raises(InferenceServerException, match=r"WARM_BUCKETS needs fixed dims, input 'x' has \[-1,-1\]"):
        client.load_model("padded_open_width")
