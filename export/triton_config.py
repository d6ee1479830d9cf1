"""FeatureSpec + serving options -> dictionary -> config.pbtxt. Pure: nothing is read or written here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from export.errors import ExportError
from export.signatures import OUTPUTS, row_shape
from training.feature_spec import Feature

TRITON_TYPES = {
    "bool": "TYPE_BOOL", "int8": "TYPE_INT8", "int16": "TYPE_INT16", "int32": "TYPE_INT32", "int64": "TYPE_INT64",
    "uint8": "TYPE_UINT8", "uint16": "TYPE_UINT16", "uint32": "TYPE_UINT32", "uint64": "TYPE_UINT64",
    "float16": "TYPE_FP16", "float32": "TYPE_FP32", "float64": "TYPE_FP64",
}  # fmt: skip
WARMUP_BATCH_SIZES = (1, 16, 64)


@dataclass(frozen=True)
class ServingOptions:
    """max_batch_size: rows of a request and of a merged batch. instances: executions at the same time on the CPU.

    dynamic_batching: merge waiting requests. With XLA it is off, since every new batch size would compile.
    """

    max_batch_size: int = 1024
    instances: int = 1
    dynamic_batching: bool = True
    max_queue_delay_us: int = 0
    intra_op_threads: int = 1
    inter_op_threads: int = 1


def model_config(name: str, features: Sequence[Feature], options: ServingOptions) -> dict[str, Any]:
    """Triton's ModelConfig as a dictionary in its field names. Raises ExportError for a dtype that Triton lacks."""
    config: dict[str, Any] = {
        "name": name,
        "platform": "tensorflow_savedmodel",
        "backend": "tensorflow",
        "max_batch_size": options.max_batch_size,
        "input": [
            {"name": f.name, "data_type": triton_type(f.name, f.dtype), "dims": list(row_shape(f))} for f in features
        ],
        "output": [{"name": output, "data_type": "TYPE_FP32", "dims": [1]} for output in OUTPUTS],
        "instance_group": [{"count": options.instances, "kind": "KIND_CPU"}],
        "parameters": {
            "TF_NUM_INTRA_THREADS": {"string_value": str(options.intra_op_threads)},
            "TF_NUM_INTER_THREADS": {"string_value": str(options.inter_op_threads)},
            "TF_USE_PER_SESSION_THREADS": {"string_value": "1"},
        },
        "model_warmup": [
            _warmup(features, size) for size in sorted({min(s, options.max_batch_size) for s in WARMUP_BATCH_SIZES})
        ],
    }
    if options.dynamic_batching:
        delay = options.max_queue_delay_us
        config["dynamic_batching"] = {"max_queue_delay_microseconds": delay} if delay else {}
    return config


def config_text(config: dict[str, Any]) -> str:
    """The dictionary as config.pbtxt; unknown fields are errors of ours and raise."""
    message = json_format.ParseDict(config, model_config_pb2.ModelConfig())
    return str(text_format.MessageToString(message))


def triton_type(name: str, dtype: np.dtype) -> str:
    if dtype.name not in TRITON_TYPES:
        raise ExportError(f"feature {name}: dtype {dtype.name} has no Triton type; expected {', '.join(TRITON_TYPES)}")
    return TRITON_TYPES[dtype.name]


def _warmup(features: Sequence[Feature], batch_size: int) -> dict[str, Any]:
    inputs = {
        f.name: {"data_type": triton_type(f.name, f.dtype), "dims": list(row_shape(f)), "zero_data": True}
        for f in features
    }
    return {"name": f"rows_{batch_size}", "batch_size": batch_size, "inputs": inputs}
