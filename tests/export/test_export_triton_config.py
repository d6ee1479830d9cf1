"""config.pbtxt as a whole dictionary, and as text that Triton's own message type reads back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from export.errors import ExportError
from export.triton_config import ServingOptions, config_text, model_config, rank_config
from recserve import cli
from training.feature_spec import Feature

FEATURES = (
    Feature("user", np.dtype("int32"), 9),
    Feature("items", np.dtype("int64"), 30, (12,)),
    Feature("price", np.dtype("float32")),
)


def test_the_whole_dictionary() -> None:
    options = ServingOptions(
        max_batch_size=32, instances=2, max_queue_delay_us=50, max_queue_size=12, queue_timeout_us=3000
    )
    warmup_inputs = {
        "user": {"data_type": "TYPE_INT32", "dims": [1], "zero_data": True},
        "items": {"data_type": "TYPE_INT64", "dims": [12], "zero_data": True},
        "price": {"data_type": "TYPE_FP32", "dims": [1], "zero_data": True},
    }
    assert model_config("sim", FEATURES, options) == {
        "name": "sim",
        "platform": "tensorflow_savedmodel",
        "backend": "tensorflow",
        "max_batch_size": 32,
        "input": [
            {"name": "user", "data_type": "TYPE_INT32", "dims": [1]},
            {"name": "items", "data_type": "TYPE_INT64", "dims": [12]},
            {"name": "price", "data_type": "TYPE_FP32", "dims": [1]},
        ],
        "output": [
            {"name": "probability", "data_type": "TYPE_FP32", "dims": [1]},
            {"name": "logit", "data_type": "TYPE_FP32", "dims": [1]},
        ],
        "instance_group": [{"count": 2, "kind": "KIND_CPU"}],
        "parameters": {
            "TF_NUM_INTRA_THREADS": {"string_value": "1"},
            "TF_NUM_INTER_THREADS": {"string_value": "1"},
            "TF_USE_PER_SESSION_THREADS": {"string_value": "1"},
            "MAX_QUEUE_SIZE": {"string_value": "12"},
            "QUEUE_TIMEOUT_US": {"string_value": "3000"},
        },
        "model_warmup": [
            {"name": "rows_1", "batch_size": 1, "inputs": warmup_inputs},
            {"name": "rows_16", "batch_size": 16, "inputs": warmup_inputs},
            {"name": "rows_32", "batch_size": 32, "inputs": warmup_inputs},
        ],
        "dynamic_batching": {"max_queue_delay_microseconds": 50},
    }


def test_dynamic_batching_is_on_by_default_and_off_when_asked() -> None:
    assert model_config("sim", FEATURES, ServingOptions())["dynamic_batching"] == {}
    assert "dynamic_batching" not in model_config("sim", FEATURES, ServingOptions(dynamic_batching=False))


def test_the_text_reads_back() -> None:
    config = model_config("sim", FEATURES, ServingOptions())
    message = text_format.Parse(config_text(config), model_config_pb2.ModelConfig())
    assert message.backend == "tensorflow"
    assert list(message.input[1].dims) == [12]
    assert message.HasField("dynamic_batching")


@pytest.mark.parametrize(
    ("size", "timeout_us", "written"),
    [(12, 0, {"MAX_QUEUE_SIZE": "12"}), (0, 3000, {"QUEUE_TIMEOUT_US": "3000"}), (0, 0, {})],
)
def test_either_bound_of_the_queue_can_be_had_alone(size: int, timeout_us: int, written: dict[str, str]) -> None:
    options = ServingOptions(max_queue_size=size, queue_timeout_us=timeout_us, dynamic_batching=False)
    for config in (
        model_config("sim", FEATURES, options),
        rank_config("sim_rank", FEATURES, FEATURES[:1], options),
    ):
        message = text_format.Parse(config_text(config), model_config_pb2.ModelConfig())
        found = {name: value.string_value for name, value in message.parameters.items() if "QUEUE" in name}
        assert found == written
        assert not message.HasField("dynamic_batching")


def test_for_the_official_backend_the_bounds_are_tritons_own() -> None:
    options = ServingOptions(max_queue_size=12, queue_timeout_us=3000, on_gpu=True)
    message = text_format.Parse(config_text(model_config("sim", FEATURES, options)), model_config_pb2.ModelConfig())
    policy = message.dynamic_batching.default_queue_policy
    assert (policy.max_queue_size, policy.default_timeout_microseconds) == (12, 3000)
    assert policy.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT
    assert not [name for name in message.parameters if "QUEUE" in name]


@pytest.mark.parametrize("option", ["--max_queue_size", "--queue_timeout_us"])
def test_a_negative_bound_of_the_queue_is_refused(option: str) -> None:
    assert CliRunner().invoke(cli, ["export", "--checkpoint", "none", option, "-1"]).exit_code == 2


def test_a_dtype_that_triton_lacks_names_the_feature() -> None:
    with pytest.raises(ExportError, match="feature price: dtype complex64"):
        model_config("sim", (replace(FEATURES[2], dtype=np.dtype("complex64")),), ServingOptions())


@pytest.mark.parametrize(
    ("most", "sizes"), [(1024, [1, 16, 64, 256, 1024]), (256, [1, 16, 64, 256]), (100, [1, 16, 64, 100])]
)
def test_buckets_are_written_and_each_is_warmed(most: int, sizes: list[int]) -> None:
    options = ServingOptions(max_batch_size=most, buckets=(1, 16, 64, 256, 1024))
    config = model_config("sim", FEATURES, options)
    assert config["parameters"]["BATCH_BUCKETS"] == {"string_value": "1,16,64,256,1024"}
    assert [sample["batch_size"] for sample in config["model_warmup"]] == sizes
    assert "BATCH_BUCKETS" not in rank_config("sim_rank", FEATURES, FEATURES[:1], options)["parameters"]


@pytest.mark.parametrize("sizes", ["", "16,1", "1,1", "0,4", "1;4", "a"])
def test_buckets_that_make_no_sense_are_refused(sizes: str) -> None:
    done = CliRunner().invoke(cli, ["export", "--checkpoint", "none", "--buckets", sizes])
    assert done.exit_code == 2
    assert "expected ascending batch sizes" in done.output
