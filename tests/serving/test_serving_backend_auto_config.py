"""The native backend in a real Triton: a partial config.pbtxt, or none, is completed from the SavedModel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.embedded import TritonServer
from serving.tool_folder import ToolFolder

pytestmark = pytest.mark.server


@pytest.fixture
def add_model(repository: Path) -> Callable[[str, str, str | None], None]:
    """add_model(name, of, config): a model with the SavedModel of another and that config.pbtxt, None for no file."""

    def add(name: str, of: str, config: str | None) -> None:
        version = repository / name / "1"
        version.mkdir(parents=True)
        (version / "model.savedmodel").symlink_to(repository / of / "1" / "model.savedmodel")
        if config is not None:
            (repository / name / "config.pbtxt").write_text(config)

    return add


def described(client: Any, model: str) -> dict[str, Any]:
    """The configuration that the server ended up with."""
    config = client.get_model_config(model).config

    def tensors(listed: Any) -> dict[str, tuple[str, list[int]]]:
        types = type(listed[0]).DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
        return {t.name: (types[t.data_type].name, list(t.dims)) for t in listed}

    return {
        "batch": config.max_batch_size,
        "dynamic": config.HasField("dynamic_batching"),
        "input": tensors(config.input),
        "output": tensors(config.output),
    }


PAIR_IN = {"ids": ("TYPE_INT64", [3]), "weight": ("TYPE_FP32", [1])}
PAIR_OUT = {"total": ("TYPE_FP32", [1]), "twice": ("TYPE_INT64", [3])}
ONLY_BACKEND = 'backend: "tensorflow"\n'
# model, config.pbtxt, what the server must end up with
COMPLETED: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "no file": ("pair", None, {"batch": 4, "dynamic": True, "input": PAIR_IN, "output": PAIR_OUT}),
    "backend only": ("pair", ONLY_BACKEND, {"batch": 4, "dynamic": True, "input": PAIR_IN, "output": PAIR_OUT}),
    "batch size": (
        "pair", ONLY_BACKEND + "max_batch_size: 100", {"batch": 100, "dynamic": False, "input": PAIR_IN},
    ),
    "one output": (
        "pair", ONLY_BACKEND + 'output [ { name: "twice" } ]',
        {"batch": 4, "input": PAIR_IN, "output": {"twice": ("TYPE_INT64", [3])}},
    ),
    "one input": (
        "pair", ONLY_BACKEND + 'input [ { name: "weight" dims: [ -1 ] } ]',
        {"batch": 4, "input": {"ids": ("TYPE_INT64", [3]), "weight": ("TYPE_FP32", [-1])}},
    ),
    "dims that count the rows": (
        "pair", ONLY_BACKEND + 'output [ { name: "twice" dims: [ -1, 3 ] } ]',
        {
            "batch": 0, "dynamic": False, "input": {"ids": ("TYPE_INT64", [-1, 3]), "weight": ("TYPE_FP32", [-1, 1])},
            "output": {"twice": ("TYPE_INT64", [-1, 3])},
        },
    ),
    "fixed first dimension": (
        "unbatched", None,
        {
            "batch": 0, "dynamic": False, "input": {"x": ("TYPE_FP32", [2, 3]), "y": ("TYPE_FP32", [3, -1])},
            "output": {"product": ("TYPE_FP32", [2, -1]), "count": ("TYPE_INT32", [1])},
        },
    ),
    "strings": (
        "echo_string", None,
        {
            "batch": 4, "input": {"x": ("TYPE_STRING", [3])},
            "output": {"y": ("TYPE_STRING", [3]), "n": ("TYPE_INT32", [3])},
        },
    ),
    "rows of scalars": ("scalars", None, {"batch": 4, "input": {"x": ("TYPE_FP32", [1])}}),
    "a scalar": ("one_scalar", None, {"batch": 0, "input": {"x": ("TYPE_FP32", [1])}}),
}  # fmt: skip


@pytest.mark.parametrize("case", COMPLETED)
def test_what_the_file_leaves_out_comes_from_the_signature(client: Any, add_model: Any, case: str) -> None:
    of, config, expected = COMPLETED[case]
    name = "auto_" + case.replace(" ", "_")
    add_model(name, of, config)
    client.load_model(name)
    found = described(client, name)
    assert {key: found[key] for key in expected} == expected


def test_a_model_without_a_file_scores(client: Any, add_model: Any, make_input: Any) -> None:
    add_model("auto_pair", "pair", None)
    client.load_model("auto_pair")
    ids, weight = np.array([[1, 2, 3], [4, 5, 6]]), np.array([[0.5], [2.0]], np.float32)
    result = client.infer("auto_pair", [make_input("ids", ids), make_input("weight", weight)])
    np.testing.assert_array_equal(result.as_numpy("total"), [[3.0], [30.0]])
    np.testing.assert_array_equal(result.as_numpy("twice"), 2 * ids)


@pytest.mark.parametrize(("model", "value"), [("scalars", [[1.0], [2.0]]), ("one_scalar", [3.0])])
def test_completed_scalars_score(client: Any, add_model: Any, make_input: Any, model: str, value: Any) -> None:
    name = f"auto_{model}_scores"
    add_model(name, model, None)
    client.load_model(name)
    x = np.array(value, np.float32)
    np.testing.assert_array_equal(client.infer(name, [make_input("x", x)]).as_numpy("y"), 2 * x)


def test_the_only_signature_is_taken_whatever_its_name(
    client: Any, repository: Path, saved_models: Any, make_input: Any
) -> None:
    import tensorflow as tf

    specs = [tf.TensorSpec([None, 3], tf.float32, name="x")]
    saved_models.save(repository / "auto_odd_name" / "1", lambda x: {"y": -x}, specs, signature="rank")
    client.load_model("auto_odd_name")
    x = np.ones([1, 3], np.float32)
    np.testing.assert_array_equal(client.infer("auto_odd_name", [make_input("x", x)]).as_numpy("y"), -x)


# model, config.pbtxt, what the error must say
REFUSED: dict[str, tuple[str, str, list[str]]] = {
    "wrong type": (
        "pair", 'input [ { name: "ids" data_type: TYPE_INT32 } ]', ["'ids'", "model has INT64", "says INT32"],
    ),
    "wrong dims": (
        "pair", 'output [ { name: "twice" dims: [ 4 ] } ]', ["'twice'", "[-1,3]", "config.pbtxt says INT64 [-1,4]"],
    ),
    "unknown name": (
        "pair", 'output [ { name: "sum" data_type: TYPE_FP32 dims: [ 1 ] } ]', ["'sum'", "(it has: total, twice)"],
    ),
    "no rows": ("unbatched", "max_batch_size: 8", ["input 'x'", "the model has FP32 [2,3]"]),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_partial_file_that_is_wrong_is_refused_by_name(client: Any, add_model: Any, case: str) -> None:
    from tritonclient.utils import InferenceServerException

    of, config, words = REFUSED[case]
    name = "auto_refused_" + case.replace(" ", "_")
    add_model(name, of, ONLY_BACKEND + config)
    with pytest.raises(InferenceServerException) as raised:
        client.load_model(name)
    for word in words:
        assert word in str(raised.value)


def test_the_servers_default_batch_size_counts(repository: Path, tools: ToolFolder, tmp_path: Path) -> None:
    import tritonclient.grpc as triton

    version = tmp_path / "models" / "pair" / "1"
    version.mkdir(parents=True)
    (version / "model.savedmodel").symlink_to(repository / "pair" / "1" / "model.savedmodel")
    extra = ["--backend-config=tensorflow,default-max-batch-size=32"]
    with (
        TritonServer(tmp_path / "models", tools=tools, extra_args=extra) as server,
        triton.InferenceServerClient(server.endpoints.grpc) as client,
    ):
        assert described(client, "pair")["batch"] == 32
