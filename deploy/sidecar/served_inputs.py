"""What an exported model takes, read from its config.pbtxt."""

from __future__ import annotations

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import triton_to_np_dtype

from client.transport import TensorDescription
from deploy.exported import Exported


def served_inputs(exported: Exported) -> dict[str, TensorDescription]:
    """{input name: its dtype and shape of one row} of the pointwise model."""
    config = text_format.Parse(exported.configs()[exported.name], model_config_pb2.ModelConfig())
    types = model_config_pb2.DataType
    return {
        i.name: TensorDescription(
            i.name, np.dtype(triton_to_np_dtype(types.Name(i.data_type).removeprefix("TYPE_"))), tuple(i.dims)
        )
        for i in config.input
    }
