"""The native backend in a real Triton: strings, scalars, reshape, optional and ragged inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.server

TEXTS = [b"", b"a", b"twenty-two bytes long!", b"one byte more than that", bytes(range(256)), b"x" * 100_000]


def test_strings_round_trip_short_long_empty_and_binary(infer: Any) -> None:
    x = np.array([TEXTS[:3], TEXTS[3:]], np.object_)
    result = infer("echo_string", {"x": x})
    np.testing.assert_array_equal(result["y"], x[:, ::-1])
    np.testing.assert_array_equal(result["n"], [[len(text) for text in row] for row in x])


def test_strings_of_merged_requests_do_not_mix(together: Any) -> None:
    requests = [
        np.array(
            [[f"{number}.{row}.{column}".encode() * number for column in range(3)] for row in range(1 + number % 3)]
        )
        for number in range(12)
    ]
    for x, answer in zip(
        requests, together("echo_string", [{"x": x.astype(np.object_)} for x in requests]), strict=True
    ):
        np.testing.assert_array_equal(answer.as_numpy("y"), x[:, ::-1])


def test_strings_that_the_graph_keeps_stay_whole(infer: Any) -> None:
    last = b"nothing"
    for number in range(50):
        text = f"{number} ".encode() * (1 + 20 * (number % 3))
        np.testing.assert_array_equal(infer("string_keeper", {"x": np.array([[text]], np.object_)})["y"], [[last]])
        last = text


# The server itself checks BYTES before the backend sees them; the backend's own check is tested by backend_program.
@pytest.mark.parametrize(
    "raw",
    [b"", b"\0\0", b"\1\0\0\0a", b"\1\0\0\0a" * 2 + b"\2\0\0\0a", b"\1\0\0\0a" * 4, b"\xff\xff\xff\xff" + b"a" * 20],
    ids=["nothing", "half a length", "one of three", "short last one", "four of three", "length of 4 GiB"],
)
def test_malformed_strings_are_refused_and_the_server_goes_on(
    client: Any, load: Any, make_input: Any, infer: Any, raw: bytes
) -> None:
    from tritonclient.utils import InferenceServerException

    load("echo_string")
    tensor = make_input("x", np.array([[b"a", b"b", b"c"]], np.object_))
    tensor._raw_content = raw
    with pytest.raises(InferenceServerException, match="x") as raised:
        client.infer("echo_string", [tensor])
    assert raised.value.status() == "StatusCode.INVALID_ARGUMENT"
    x = np.array([[b"a", b"b", b"c"]], np.object_)
    np.testing.assert_array_equal(infer("echo_string", {"x": x})["y"], x[:, ::-1])


def test_rows_of_scalars(infer: Any) -> None:
    x = np.arange(5, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(infer("scalars", {"x": x})["y"], 2 * x)


def test_a_single_scalar(infer: Any) -> None:
    np.testing.assert_array_equal(infer("one_scalar", {"x": np.array([4.0], np.float32)})["y"], [8.0])


def test_reshape_there_and_back(infer: Any) -> None:
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    np.testing.assert_array_equal(infer("reshape", {"x": x})["y"], x[:, [3, 4, 5, 0, 1, 2]])


W_DEFAULT = np.array([1, 2, 3], np.float32)


def test_optional_inputs_take_the_defaults_of_the_signature(infer: Any) -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    w = np.full([2, 3], 10, np.float32)
    result = infer("optional", {"x": x})
    np.testing.assert_array_equal(result["y"], x * W_DEFAULT)
    np.testing.assert_array_equal(result["t"], [[b"none"], [b"none"]])
    np.testing.assert_array_equal(infer("optional", {"x": x, "w": w})["y"], x * 10)
    tags = np.array([[b"one"], [b"two"]], np.object_)
    np.testing.assert_array_equal(infer("optional", {"x": x, "tag": tags})["t"], tags)


@pytest.mark.parametrize(("model", "left_out"), [("optional", W_DEFAULT), ("optional_placeholder", np.float32(10))])
def test_requests_with_and_without_an_optional_input_at_once(together: Any, model: str, left_out: Any) -> None:
    width = 3 if model == "optional" else 1
    xs = [np.full([1 + number % 3, 3], number, np.float32) for number in range(12)]
    requests = [{"x": x} for x in xs]
    for number in range(0, 12, 2):
        requests[number]["w"] = np.full([len(xs[number]), width], 2 + number, np.float32)
    for number, answer in enumerate(together(model, requests)):
        factor = left_out if number % 2 else 2 + number
        np.testing.assert_array_equal(answer.as_numpy("y"), xs[number] * factor)


def test_a_required_input_stays_required(infer: Any) -> None:
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException, match="x"):
        infer("optional", {"w": np.ones([1, 3], np.float32)})


def test_optional_without_a_default_is_refused_at_load(client: Any, repository: Path, saved_models: Any) -> None:
    from tritonclient.utils import InferenceServerException

    version = repository / "no_default" / "1"
    version.mkdir(parents=True)
    (version / "model.savedmodel").symlink_to(repository / "echo_fp32" / "1" / "model.savedmodel")
    body = 'input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] optional: true } ]'
    (repository / "no_default" / "config.pbtxt").write_text(
        saved_models.config_text([], [("y", "FP32", [3])], extra=body)
    )
    with pytest.raises(
        InferenceServerException, match="input 'x' is optional, but neither the signature nor the graph"
    ):
        client.load_model("no_default")


def test_ragged_requests_run_as_one_batch(together: Any) -> None:
    lengths = [3, 1, 4, 1, 5, 9, 2, 6]
    xs = [np.arange(length, dtype=np.float32)[None, :] + 100 * number for number, length in enumerate(lengths)]
    answers = together("ragged", [{"x": x} for x in xs])
    told = np.concatenate([answer.as_numpy("told") for answer in answers])
    for x, answer in zip(xs, answers, strict=True):
        np.testing.assert_array_equal(answer.as_numpy("sum"), x.sum(1, keepdims=True))
        np.testing.assert_array_equal(answer.as_numpy("twice"), 2 * x)
    np.testing.assert_array_equal(told[:, 0], lengths)  # elements of each request
    np.testing.assert_array_equal(told[:, 1], told[:, 2])  # two ways to say where it ends
    np.testing.assert_array_equal(told[:, 4], lengths)
    np.testing.assert_array_equal(told[:, 5], lengths)
    assert max(told[:, 3]) == max(lengths), "the longest one was not seen"
    assert any(told[number, 1] > lengths[number] for number in range(len(lengths))), "nothing was merged"


def test_ragged_on_a_graph_with_rows_runs_in_groups(together: Any) -> None:
    xs = [np.full([1, 1 + number % 4], number, np.float32) for number in range(16)]
    for x, answer in zip(xs, together("ragged_rows", [{"x": x} for x in xs]), strict=True):
        np.testing.assert_array_equal(answer.as_numpy("sum"), x.sum(1, keepdims=True))


BAD_RAGGED: dict[str, tuple[str, str]] = {
    "kind": (
        'batch_input [ { kind: BATCH_ITEM_SHAPE target_name: "n" data_type: TYPE_INT64 source_input: "x" } ]',
        "INT64",
    ),
    "source": (
        'batch_input [ { kind: BATCH_ITEM_SHAPE target_name: "n" data_type: TYPE_INT32 source_input: "z" } ]',
        "source_input 'z' is no required input",
    ),
    "target": (
        'batch_input [ { kind: BATCH_ITEM_SHAPE target_name: "n" data_type: TYPE_INT32 source_input: "x" } ]',
        "batch_input 'n': the model has no such input",
    ),
}


@pytest.mark.parametrize("case", BAD_RAGGED)
def test_batch_inputs_that_do_not_fit_are_refused(client: Any, repository: Path, saved_models: Any, case: str) -> None:
    from tritonclient.utils import InferenceServerException

    extra, words = BAD_RAGGED[case]
    version = repository / f"bad_ragged_{case}" / "1"
    version.mkdir(parents=True)
    (version / "model.savedmodel").symlink_to(repository / "echo_fp32" / "1" / "model.savedmodel")
    text = saved_models.config_text([("x", "FP32", [3])], [("y", "FP32", [3])], extra=extra)
    (version.parent / "config.pbtxt").write_text(text)
    with pytest.raises(InferenceServerException, match=words):
        client.load_model(version.parent.name)


@pytest.mark.parametrize("width", [1, 3, 16, 17, 90])
@pytest.mark.parametrize("rows", [1, 40])
def test_the_nth_element_is_the_sorted_rows(infer: Any, rows: int, width: int) -> None:
    rng = np.random.default_rng(width)
    x = rng.standard_normal((rows, width)).astype(np.float32)
    x[:, rng.random(width) < 0.3] = -np.inf
    for n in {0, width // 2, width - 1}:
        found = infer("nth", {"x": x, "n": np.full((rows, 1), n, np.int32)})
        np.testing.assert_array_equal(found["lowest"][:, 0], np.sort(x, axis=1)[:, n])
        np.testing.assert_array_equal(found["highest"][:, 0], np.sort(x, axis=1)[:, width - 1 - n])


@pytest.mark.parametrize("n", [-1, 3])
def test_an_element_that_a_row_does_not_have_is_refused(infer: Any, n: int) -> None:
    with pytest.raises(InferenceServerException, match=f"n is {n}, the last axis has 3; expected 0 <= n < 3"):
        infer("nth", {"x": np.zeros((2, 3), np.float32), "n": np.full((2, 1), n, np.int32)})
