"""The native backend in a real Triton: what it loads, what it refuses to load and with which words."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.server

PAIR_IN = [("ids", "INT64", [3]), ("weight", "FP32", [1])]
PAIR_OUT = [("total", "FP32", [1])]
ECHO = ([("x", "FP32", [3])], [("y", "FP32", [3])])

# model, inputs and outputs of the config, options of config_text, what the error must say
REFUSED: list[Any] = [
    (
        "pair", [("ids", "INT32", [3]), PAIR_IN[1]], PAIR_OUT, {},
        ["input 'ids'", "the model has INT64 [-1,3]", "config.pbtxt says INT32 [-1,3]", "max_batch_size is 64"],
    ),
    (
        "pair", [("ids", "INT64", [4]), PAIR_IN[1]], [("total", "FP64", [1])], {},
        ["input 'ids'", "INT64 [-1,4]", "output 'total'", "the model has FP32 [-1,1]", "says FP64 [-1,1]"],
    ),
    (
        "pair", [*PAIR_IN, ("more", "FP32", [1])], [("sum", "FP32", [1])], {},
        ["input 'more'", "no such input (it has: ids, weight)", "output 'sum'", "(it has: total, twice)"],
    ),
    (
        "pair", [("ids", "INT64", [3]), ("weight", "FP32", [1, 1])], PAIR_OUT, {},
        ["input 'weight'", "the model has FP32 [-1,1]", "config.pbtxt says FP32 [-1,1,1]"],
    ),
    (
        "unbatched", [("x", "FP32", [3]), ("y", "FP32", [-1])], [("count", "INT32", [])], {"max_batch_size": 8},
        ["input 'x'", "the model has FP32 [2,3], whose first dimension is fixed"],
    ),
    (
        "unbatched", [("x", "FP32", [3])], [("product", "FP32", [2, -1])], {"max_batch_size": 0},
        ["input 'x'", "the model has FP32 [2,3]", "says FP32 [3] (no batch dimension", "max_batch_size is 0"],
    ),
    (
        "echo_fp32", [("x", "FP32", [3])], [("y", "FP32", [-1, 3])], {"max_batch_size": 0},
        ["output 'y' has dims [-1,3]", "contradict other tensors about a batch dimension", "the model has [-1,3]"],
    ),
    ("echo_fp32", *ECHO, {"parameters": {"TF_SIGNATURE_DEF": "rank"}}, ["'rank'", "it has:", "serving_default"]),
    ("echo_fp32", *ECHO, {"parameters": {"TF_GRAPH_TAG": "train"}}, ["train"]),
    ("echo_fp32", *ECHO, {"parameters": {"TF_NUM_INTRA_THREADS": "many"}}, ["TF_NUM_INTRA_THREADS", "'many'"]),
    *(
        ("echo_fp32", *ECHO, {"parameters": {name: value}}, [f"parameter {name} is '{value}'", expected])
        for name, value, expected in [
            ("TF_NUM_INTER_THREADS", "-1", "a number of threads from 0"),
            ("TF_NUM_INTER_THREADS", "1x", "a number of threads from 0"),
            ("TF_USE_PER_SESSION_THREADS", "maybe", "true or false"),
            ("TF_SIGNATURE_DEF", "", "a name"),
            ("TF_GRAPH_TAG", "", "a name"),
            ("MAX_SESSION_SHARE_COUNT", "0", "a number of instances from 1"),
            ("TF_NUM_INTRA_THREAD", "1", "no such parameter; known are TF_NUM_INTRA_THREADS"),
            ("BATCH_BUCKET", "1", "no such parameter"),
            ("BATCH_BUCKETS", "", "ascending batch sizes"),
            ("BATCH_BUCKETS", "4,4", "ascending batch sizes"),
            ("BATCH_BUCKETS", "16,1", "ascending batch sizes"),
            ("BATCH_BUCKETS", "1,many", "ascending batch sizes"),
            ("BATCH_BUCKETS", "1,16,", "ascending batch sizes"),
            ("WARM_BUCKETS", "true", "BATCH_BUCKETS beside it"),
        ]
    ),
    (
        "unbatched", [("x", "FP32", [2, 3])], [("count", "INT32", [1])],
        {"max_batch_size": 0, "parameters": {"BATCH_BUCKETS": "1,2"}}, ["BATCH_BUCKETS", "max_batch_size is 0"],
    ),
    ("echo_fp32", *ECHO, {"extra": "optimization { graph { level: 7 } }"}, ["optimization.graph.level is 7"]),
    (
        "echo_fp32", *ECHO,
        {"extra": 'optimization { execution_accelerators { cpu_execution_accelerator: [ { name: "x" } ] } }'},
        ["does not support cpu_execution_accelerator"],
    ),
    (
        "echo_fp32", *ECHO, {"extra": 'default_model_filename: "../2/model.savedmodel"'},
        ["default_model_filename", "expected the name of a folder"],
    ),
    ("echo_fp32", *ECHO, {"extra": "sequence_batching {}"}, ["sequence_batching"]),
    ("echo_fp32", *ECHO, {"extra": "model_transaction_policy { decoupled: true }"}, ["decoupled"]),
    (
        "echo_fp32", *ECHO, {"extra": 'default_model_filename: "other.savedmodel"'},
        ["no SavedModel folder", "1/other.savedmodel"],
    ),
]  # fmt: skip
NUMBERS = itertools.count()


@pytest.fixture
def try_config(client: Any, repository: Path, saved_models: Any) -> Callable[..., tuple[str, str]]:
    """try_config(model of the repository, inputs, outputs, **options) -> (new model's name, error text or "")."""
    from tritonclient.utils import InferenceServerException

    def attempt(of: str, inputs: Any, outputs: Any, **options: Any) -> tuple[str, str]:
        name = f"tried_{next(NUMBERS)}"
        version = repository / name / "1"
        version.mkdir(parents=True)
        (version / "model.savedmodel").symlink_to(repository / of / "1" / "model.savedmodel")
        (repository / name / "config.pbtxt").write_text(saved_models.config_text(inputs, outputs, **options))
        try:
            client.load_model(name)
        except InferenceServerException as error:
            return name, str(error)
        return name, ""

    return attempt


@pytest.mark.parametrize(("of", "inputs", "outputs", "options", "words"), REFUSED)
def test_a_config_that_does_not_fit_is_refused_by_name(
    try_config: Any, of: str, inputs: Any, outputs: Any, options: dict[str, Any], words: list[str]
) -> None:
    _, error = try_config(of, inputs, outputs, **options)
    assert error, "the model loaded"
    for word in words:
        assert word in error


def test_a_damaged_saved_model_is_refused(client: Any, repository: Path, saved_models: Any) -> None:
    from tritonclient.utils import InferenceServerException

    version = repository / "damaged" / "1" / "model.savedmodel"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"\xff" * 100)
    (repository / "damaged" / "config.pbtxt").write_text(saved_models.config_text(*ECHO))
    with pytest.raises(InferenceServerException, match="loading the SavedModel"):
        client.load_model("damaged")


def test_another_signature_is_served(client: Any, repository: Path, saved_models: Any, make_input: Any) -> None:
    import tensorflow as tf

    model = repository / "second_signature"
    specs = [tf.TensorSpec([None, 3], tf.float32, name="x")]
    saved_models.save(model / "1", lambda x: {"y": -x}, specs, signature="negated")
    text = saved_models.config_text(*ECHO, parameters={"TF_SIGNATURE_DEF": "negated", "TF_GRAPH_TAG": "serve"})
    (model / "config.pbtxt").write_text(text)
    client.load_model("second_signature")
    result = client.infer("second_signature", [make_input("x", np.ones([1, 3], np.float32))])
    np.testing.assert_array_equal(result.as_numpy("y"), [[-1.0, -1.0, -1.0]])


@pytest.mark.parametrize(("tag", "factor"), [(None, 1.0), ("serve", 1.0), ("doubled", 2.0)])
def test_the_graph_of_the_tag_is_served(
    infer: Any, repository: Path, saved_models: Any, special_models: Any, tag: str | None, factor: float
) -> None:
    model = repository / f"tag_{tag}"
    special_models.save_two_tags(model / "1")
    parameters = {} if tag is None else {"TF_GRAPH_TAG": tag}
    (model / "config.pbtxt").write_text(saved_models.config_text(*ECHO, parameters=parameters))
    result = infer(model.name, {"x": np.ones([1, 3], np.float32)})
    np.testing.assert_array_equal(result["y"], [[factor] * 3])


def test_own_threads_are_made_and_go_with_the_model(client: Any, server: Any, try_config: Any, make_input: Any) -> None:
    before = _thread_count(server.pid)
    wanted = {"TF_NUM_INTRA_THREADS": "3", "TF_NUM_INTER_THREADS": "40", "TF_USE_PER_SESSION_THREADS": "on"}
    name, error = try_config("echo_fp32", *ECHO, parameters=wanted)
    assert not error
    client.infer(name, [make_input("x", np.ones([1, 3], np.float32))])
    assert _thread_count(server.pid) - before >= 40
    assert f"model '{name}' version 1: threads intra-op 3, inter-op 40 (own pool)" in server.log_file.read_text()
    client.unload_model(name)
    _wait_until(lambda: _thread_count(server.pid) - before < 40)


def test_one_inter_op_thread_makes_no_pool(client: Any, server: Any, try_config: Any, make_input: Any) -> None:
    before = _thread_count(server.pid)
    name, error = try_config(
        "echo_fp32", *ECHO, parameters={"TF_NUM_INTRA_THREADS": "1", "TF_NUM_INTER_THREADS": "1"}, instances=3
    )
    assert not error
    client.infer(name, [make_input("x", np.ones([1, 3], np.float32))])
    assert _thread_count(server.pid) - before <= 8  # Triton's own thread for each instance, and a few of the session
    assert "inter-op 1 (each instance runs in its own thread)" in server.log_file.read_text()


def test_the_log_tells_what_was_loaded_and_what_is_ignored(server: Any, try_config: Any) -> None:
    name, error = try_config(
        "pair", PAIR_IN, PAIR_OUT, parameters={"TF_INIT_OPS_FILE": "x", "MAX_SESSION_SHARE_COUNT": "2"},
        extra='optimization { execution_accelerators { gpu_execution_accelerator: [ { name: "tensorrt" } ] } }',
    )  # fmt: skip
    assert not error
    log = server.log_file.read_text()
    assert f"model '{name}' version 1: loaded " in log
    assert f"model '{name}' version 1: inputs ids INT64 [-1,3], weight FP32 [-1,1]" in log
    assert f"model '{name}' version 1: outputs total FP32 [-1,1]" in log
    assert "at most 2 instances per session" in log
    for ignored in ("gpu_execution_accelerator is ignored", "TF_INIT_OPS_FILE is ignored"):
        assert ignored in log


def test_a_new_version_replaces_the_old_one(client: Any, repository: Path, saved_models: Any, make_input: Any) -> None:
    model = repository / "growing"
    saved_models.add_version(model, 1)
    (model / "config.pbtxt").write_text(saved_models.config_text([("x", "FP32", [1])], [("y", "FP32", [1])]))
    inputs = [make_input("x", np.zeros([1, 1], np.float32))]
    client.load_model("growing")
    assert client.infer("growing", inputs).as_numpy("y") == [[1.0]]
    saved_models.add_version(model, 2)
    client.load_model("growing")
    assert client.infer("growing", inputs).as_numpy("y") == [[2.0]]


def _thread_count(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208


def _wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)
