"""The native backend in a real Triton: what a single request gets back, good or bad."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.server

NUMPY = {
    "BOOL": np.array([[True, False, False], [False, True, True]]),
    "UINT8": np.array([[0, 7, 255]], np.uint8),
    "UINT16": np.array([[0, 7, 2**16 - 1]], np.uint16),
    "UINT32": np.array([[0, 7, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 7, 2**64 - 1]], np.uint64),
    "INT8": np.array([[-128, 7, 127]], np.int8),
    "INT16": np.array([[-(2**15), 7, 2**15 - 1]], np.int16),
    "INT32": np.array([[-(2**31), 7, 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 7, 2**63 - 1]], np.int64),
    "FP16": np.array([[-1.5, 65504.0, np.inf]], np.float16),
    "FP32": np.array([[-1.5, 3.4e38, np.inf]], np.float32),
    "FP64": np.array([[-1.5, 1.7e308, np.inf]], np.float64),
}


@pytest.mark.parametrize("dtype", NUMPY)
def test_every_data_type_round_trips(infer: Any, dtype: str) -> None:
    value = NUMPY[dtype]
    result = infer(f"echo_{dtype.lower()}", {"x": value})["y"]
    assert result.dtype == value.dtype
    np.testing.assert_array_equal(result, value[:, ::-1])


def test_bfloat16_round_trips(client: Any, load: Any, make_input: Any) -> None:
    load("echo_bf16")
    tensor = make_input("x", np.array([[-1.5, 3.0, 1e38]], np.float32), "BF16")
    result = client.infer("echo_bf16", [tensor]).as_numpy("y")
    np.testing.assert_allclose(result, [[1e38, 3.0, -1.5]], rtol=1e-2)


def test_all_outputs_or_only_those_requested(infer: Any) -> None:
    arrays = {"ids": np.array([[1, 2, 3]]), "weight": np.array([[0.5]], np.float32)}
    both = infer("pair", arrays)
    np.testing.assert_array_equal(both["total"], [[3.0]])
    np.testing.assert_array_equal(both["twice"], [[2, 4, 6]])
    assert list(infer("pair", arrays, outputs=["twice"])) == ["twice"]


def test_a_large_batch_comes_back_in_order(infer: Any) -> None:
    ids = np.arange(64 * 3).reshape(64, 3)
    result = infer("pair", {"ids": ids, "weight": np.ones([64, 1], np.float32)})
    np.testing.assert_array_equal(result["twice"], 2 * ids)
    np.testing.assert_array_equal(result["total"], ids.sum(1, keepdims=True))


def test_max_batch_size_0(infer: Any) -> None:
    x, y = np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(12, dtype=np.float32).reshape(3, 4)
    result = infer("unbatched", {"x": x, "y": y})
    np.testing.assert_array_equal(result["product"], x @ y)
    np.testing.assert_array_equal(result["count"], [6])


def test_versions_are_apart(infer: Any) -> None:
    x = np.zeros([1, 1], np.float32)
    assert infer("versions", {"x": x}, model_version="1")["y"] == [[1.0]]
    assert infer("versions", {"x": x}, model_version="3")["y"] == [[3.0]]
    assert infer("versions", {"x": x})["y"] == [[3.0]]  # the newest


def test_xla_compiled_model(infer: Any) -> None:
    for rows in (1, 3):  # each shape is compiled
        result = infer("xla", {"x": np.ones([rows, 4], np.float32)})
        np.testing.assert_array_equal(result["y"], np.full([rows, 4], 5.0))


def test_a_graph_that_keeps_its_input_keeps_its_values(infer: Any, saved_models: Any) -> None:
    """Triton reuses a request's memory after the response: the graph must not be left reading it."""
    width = saved_models.KEEPER_WIDTH
    last = None
    for number in range(200):
        result = infer("keeper", {"x": np.full([1, width], number, np.float32)})["y"]
        if last is not None:
            np.testing.assert_array_equal(result, np.full([1, width], last))
        last = number


def test_a_model_that_keeps_its_input_unloads(infer: Any, client: Any, saved_models: Any) -> None:
    for number in range(12):
        infer("keeper", {"x": np.full([1, saved_models.KEEPER_WIDTH], number, np.float32)})
        client.unload_model("keeper")
        deadline = time.monotonic() + 10
        while client.is_model_ready("keeper"):
            assert time.monotonic() < deadline, "the model did not unload"
            time.sleep(0.01)


GOOD = {"ids": np.ones([2, 3], np.int64), "weight": np.ones([2, 1], np.float32)}
BAD = {
    "dtype": ({**GOOD, "ids": np.ones([2, 3], np.int32)}, "ids"),
    "width": ({**GOOD, "ids": np.ones([2, 4], np.int64)}, "ids"),
    "rank": ({**GOOD, "weight": np.ones([2], np.float32)}, "weight"),
    "missing": ({"ids": GOOD["ids"]}, "weight"),
    "unknown": ({**GOOD, "surprise": np.ones([2, 1], np.float32)}, "surprise"),
    "rows": ({**GOOD, "weight": np.ones([3, 1], np.float32)}, "input '(ids|weight)' batch size does not match"),
    "too many": (
        {"ids": np.ones([65, 3], np.int64), "weight": np.ones([65, 1], np.float32)},
        "batch-size must be <= 64",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_name_the_input_and_the_server_goes_on(infer: Any, case: str) -> None:
    from tritonclient.utils import InferenceServerException

    arrays, named = BAD[case]
    with pytest.raises(InferenceServerException, match=named) as raised:
        infer("pair", arrays)
    assert raised.value.status() == "StatusCode.INVALID_ARGUMENT"
    np.testing.assert_array_equal(infer("pair", GOOD)["total"], [[3.0], [3.0]])


def test_unknown_output_and_zero_rows_are_refused(infer: Any) -> None:
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException, match="surprise"):
        infer("pair", GOOD, outputs=["surprise"])
    with pytest.raises(InferenceServerException) as raised:
        infer("pair", {"ids": np.ones([0, 3], np.int64), "weight": np.ones([0, 1], np.float32)})
    assert raised.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_a_fixed_dimension_of_the_graph_is_checked_where_the_config_leaves_it_open(
    client: Any, make_input: Any, repository: Path, saved_models: Any
) -> None:
    from tritonclient.utils import InferenceServerException

    model = repository / "open_in_config"
    (model / "1").mkdir(parents=True)
    (model / "1" / "model.savedmodel").symlink_to(repository / "echo_fp32" / "1" / "model.savedmodel")
    (model / "config.pbtxt").write_text(saved_models.config_text([("x", "FP32", [-1])], [("y", "FP32", [-1])]))
    client.load_model("open_in_config")
    with pytest.raises(InferenceServerException, match=r"input 'x' has shape \[1,5\], expected \[-1,3\]") as raised:
        client.infer("open_in_config", [make_input("x", np.ones([1, 5], np.float32))])
    assert raised.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_bools_other_than_0_and_1_are_refused(client: Any, load: Any, make_input: Any) -> None:
    from tritonclient.utils import InferenceServerException

    load("echo_bool")
    tensor = make_input("x", np.array([[True, False, True]]))
    tensor._raw_content = bytes([1, 2, 0])
    with pytest.raises(InferenceServerException, match="input 'x' is BOOL and has a byte of value 2"):
        client.infer("echo_bool", [tensor])


def test_a_run_time_failure_is_the_requests_own(infer: Any, saved_models: Any) -> None:
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException, match=r"indices\[0\] = 10 is not in \[0, 10\)") as raised:
        infer("picky", {"ids": np.array([[saved_models.TABLE_ROWS]])})
    assert raised.value.status() == "StatusCode.INVALID_ARGUMENT"
    np.testing.assert_array_equal(infer("picky", {"ids": np.array([[4]])})["value"], [[40.0]])


def test_a_model_that_loses_rows_gives_an_error_not_wrong_rows(infer: Any) -> None:
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException, match=r"output 'y' .* shape \[1,2\], expected \[3,2\]"):
        infer("not_batching", {"x": np.ones([3, 2], np.float32)})


def test_only_the_requested_outputs_are_computed(infer: Any) -> None:
    """One of these outputs fails at run time, which shows whether it was computed."""
    from tritonclient.utils import InferenceServerException

    x = np.array([[-1]])
    np.testing.assert_array_equal(infer("half_broken", {"x": x}, outputs=["good"])["good"], [[0]])
    with pytest.raises(InferenceServerException, match="is not in"):
        infer("half_broken", {"x": x})
    assert list(infer("half_broken", {"x": -x}, outputs=["bad"])) == ["bad"]


def test_an_output_that_no_one_wants_is_not_checked(infer: Any) -> None:
    from tritonclient.utils import InferenceServerException

    x = np.ones([2, 2], np.float32)
    np.testing.assert_array_equal(infer("not_batching", {"x": x}, outputs=["same"])["same"], x)
    with pytest.raises(InferenceServerException, match=r"output 'y' .* shape \[1,2\], expected \[2,2\]"):
        infer("not_batching", {"x": x}, outputs=["y"])
