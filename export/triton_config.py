"""FeatureSpec + serving options -> dictionary -> config.pbtxt. Pure: nothing is read or written here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from export.errors import ExportError
from export.signatures import OUTPUTS, RANK, rank_row_shape, row_shape
from training.feature_spec import Feature

TRITON_TYPES = {
    "bool": "TYPE_BOOL", "int8": "TYPE_INT8", "int16": "TYPE_INT16", "int32": "TYPE_INT32", "int64": "TYPE_INT64",
    "uint8": "TYPE_UINT8", "uint16": "TYPE_UINT16", "uint32": "TYPE_UINT32", "uint64": "TYPE_UINT64",
    "float16": "TYPE_FP16", "float32": "TYPE_FP32", "float64": "TYPE_FP64",
}  # fmt: skip
WARMUP_BATCH_SIZES = (1, 16, 64)
WARMUP_CANDIDATES = (1, 1000)
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class ServingOptions:
    """max_batch_size: rows of a request and of a merged batch. instances: executions at the same time on the CPU.

    dynamic_batching: merge waiting requests. With XLA it is off unless there are buckets, since every new batch size
    would compile. buckets: batch sizes to which the backend pads merged batches, ascending; none: it pads nothing.
    max_queue_size, queue_timeout_us: requests of each model that may wait, and how long; more and longer are refused
    with UNAVAILABLE; 0 is no bound. Our backend keeps them, see docs/backend.md. With on_gpu, which only the official
    backend serves, they become Triton's own, for the pointwise model.
    max_rank_users: users of a ranking request. on_gpu: instances of the pointwise model run on the GPU.
    """

    max_batch_size: int = 1024
    instances: int = 1
    dynamic_batching: bool = True
    max_queue_delay_us: int = 0
    max_queue_size: int = 0
    queue_timeout_us: int = 0
    intra_op_threads: int = 1
    inter_op_threads: int = 1
    buckets: tuple[int, ...] = ()
    max_rank_users: int = 64
    on_gpu: bool = False

    @property
    def warmup_batch_sizes(self) -> list[int]:
        """Every bucket that a batch can fall into, the largest batch among them."""
        if not self.buckets:
            return sorted({min(size, self.max_batch_size) for size in WARMUP_BATCH_SIZES})
        return sorted({*(size for size in self.buckets if size < self.max_batch_size), self.max_batch_size})


def model_config(name: str, features: Sequence[Feature], options: ServingOptions) -> dict[str, Any]:
    """Triton's ModelConfig of the pointwise signature, as a dictionary in its field names.

    Raises ExportError for a dtype that Triton lacks.
    """
    shapes = {f.name: row_shape(f) for f in features}
    warmup = [_warmup(f"rows_{size}", size, features, shapes) for size in options.warmup_batch_sizes]
    config = _config(name, features, shapes, (1,), options.max_batch_size, options, warmup)
    if options.on_gpu:
        config["instance_group"] = [{"count": options.instances, "kind": "KIND_GPU"}]
    if options.buckets:
        config["parameters"]["BATCH_BUCKETS"] = _text(",".join(map(str, options.buckets)))
    if options.dynamic_batching:
        config["dynamic_batching"] = _dynamic_batching(options)
    return config


def rank_config(
    name: str, features: Sequence[Feature], candidates: Sequence[Feature], options: ServingOptions
) -> dict[str, Any]:
    """The same of the rank signature. candidates: those of the features that have one value for each candidate.

    RANK_CANDIDATES and RANK_HISTORY_STEPS tell clients what the open dimensions are. Requests are not merged: one
    is work enough, and Triton merges only requests of equal shapes.
    """
    shapes = {f.name: rank_row_shape(f, candidates) for f in features}
    warmup = []
    for count in WARMUP_CANDIDATES:
        sent = {f.name: (count,) if f in candidates else row_shape(f) for f in features}
        warmup.append(_warmup(f"candidates_{count}", 1, features, sent))
    config = _config(name, features, shapes, (-1,), options.max_rank_users, options, warmup)
    steps = max(f.dimensions[0] for f in features if f.dimensions)
    config["parameters"] |= {
        "TF_SIGNATURE_DEF": _text(RANK),
        "RANK_CANDIDATES": _text(",".join(f.name for f in candidates)),
        "RANK_HISTORY_STEPS": _text(str(steps)),
    }
    return config


def config_text(config: dict[str, Any]) -> str:
    """The dictionary as config.pbtxt; unknown fields are errors of ours and raise."""
    message = json_format.ParseDict(config, model_config_pb2.ModelConfig())
    return str(text_format.MessageToString(message))


def triton_type(name: str, dtype: np.dtype) -> str:
    if dtype.name not in TRITON_TYPES:
        raise ExportError(f"feature {name}: dtype {dtype.name} has no Triton type; expected {', '.join(TRITON_TYPES)}")
    return TRITON_TYPES[dtype.name]


def _config(
    name: str,
    features: Sequence[Feature],
    shapes: Shapes,
    output_dims: tuple[int, ...],
    max_batch_size: int,
    options: ServingOptions,
    warmup: list[dict[str, Any]],
) -> dict[str, Any]:
    return {
        "name": name,
        "platform": "tensorflow_savedmodel",
        "backend": "tensorflow",
        "max_batch_size": max_batch_size,
        "input": [
            {"name": f.name, "data_type": triton_type(f.name, f.dtype), "dims": list(shapes[f.name])} for f in features
        ],
        "output": [{"name": output, "data_type": "TYPE_FP32", "dims": list(output_dims)} for output in OUTPUTS],
        "instance_group": [{"count": options.instances, "kind": "KIND_CPU"}],
        "parameters": {
            "TF_NUM_INTRA_THREADS": _text(str(options.intra_op_threads)),
            "TF_NUM_INTER_THREADS": _text(str(options.inter_op_threads)),
            "TF_USE_PER_SESSION_THREADS": _text("1"),
            **({} if options.on_gpu else _queue_bounds(options)),
        },
        "model_warmup": warmup,
    }


def _queue_bounds(options: ServingOptions) -> dict[str, dict[str, str]]:
    bounds = {"MAX_QUEUE_SIZE": options.max_queue_size, "QUEUE_TIMEOUT_US": options.queue_timeout_us}
    return {name: _text(str(bound)) for name, bound in bounds.items() if bound}


def _dynamic_batching(options: ServingOptions) -> dict[str, Any]:
    batching: dict[str, Any] = {}
    if options.max_queue_delay_us:
        batching["max_queue_delay_microseconds"] = options.max_queue_delay_us
    if options.on_gpu and (options.max_queue_size or options.queue_timeout_us):
        batching["default_queue_policy"] = {
            "timeout_action": "REJECT",
            "default_timeout_microseconds": options.queue_timeout_us,
            "max_queue_size": options.max_queue_size,
        }
    return batching


def _warmup(name: str, batch_size: int, features: Sequence[Feature], shapes: Shapes) -> dict[str, Any]:
    inputs = {
        f.name: {"data_type": triton_type(f.name, f.dtype), "dims": list(shapes[f.name]), "zero_data": True}
        for f in features
    }
    return {"name": name, "batch_size": batch_size, "inputs": inputs}


def _text(value: str) -> dict[str, str]:
    return {"string_value": value}
