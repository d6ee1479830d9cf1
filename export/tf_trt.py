"""SavedModel -> SavedModel with TensorRT engines in it, by TF-TRT. Needs an NVIDIA GPU and TensorFlow up to 2.17.

The rank signature is not converted: TF-TRT builds its engines for one signature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from export.errors import ExportError
from export.signatures import SIGNATURE

LAST_TENSORFLOW = (2, 17)
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class TrtOptions:
    """precision: of the engines, FP32 or FP16. batch_size: the largest that they serve; larger ones run without them.

    workspace_mb: GPU memory that building may take.
    """

    precision: str = "FP16"
    batch_size: int = 1024
    workspace_mb: int = 1024

    def converter_arguments(self, saved_model: Path) -> dict[str, Any]:
        """Keyword arguments of TrtGraphConverterV2. Without engines built at run time: no request waits for one."""
        return {
            "input_saved_model_dir": str(saved_model),
            "input_saved_model_signature_key": SIGNATURE,
            "precision_mode": self.precision,
            "use_dynamic_shape": True,
            "dynamic_shape_profile_strategy": "Range",
            "max_workspace_size_bytes": self.workspace_mb * 2**20,
            "allow_build_at_runtime": False,
        }


def require_tensorrt() -> None:
    """Raises ExportError where TF-TRT cannot work: another TensorFlow, no TensorRT libraries, no GPU."""
    what_to_do = "Export in the GPU image of training, or without --tf_trt. Nothing was written."
    found = tuple(int(part) for part in tf.__version__.split(".")[:2])
    if found > LAST_TENSORFLOW:
        raise ExportError(
            f"tf_trt: got TensorFlow {tf.__version__}; expected 2.17 or older, the last with TF-TRT. {what_to_do}"
        )
    from tensorflow.compiler.tf2tensorrt import _pywrap_py_utils as tensorrt

    if not tensorrt.is_tensorrt_enabled() or tensorrt.get_loaded_tensorrt_version() == (0, 0, 0):
        linked = ".".join(map(str, tensorrt.get_linked_tensorrt_version()))
        raise ExportError(f"tf_trt: this host has no TensorRT libraries; expected TensorRT {linked}. {what_to_do}")
    if not tf.config.list_physical_devices("GPU"):
        raise ExportError(f"tf_trt: this host has no GPU; engines are built for the one that they run on. {what_to_do}")


def convert(saved_model: Path, target: Path, options: TrtOptions, rows_of: Callable[[int], Arrays]) -> None:
    """Writes the converted pointwise signature to `target`. rows_of: so many rows {input name: [B, …]} to build with.

    Raises ExportError if TF-TRT fails.
    """
    require_tensorrt()
    from tensorflow.python.compiler.tensorrt.trt_convert import TrtGraphConverterV2

    def build_inputs() -> Iterator[dict[str, tf.Tensor]]:
        for size in sorted({1, options.batch_size}):  # an engine serves every size between
            yield {name: tf.constant(values) for name, values in rows_of(size).items()}

    try:
        converter = TrtGraphConverterV2(**options.converter_arguments(saved_model))
        converter.convert()
        converter.build(input_fn=build_inputs)
        converter.save(str(target))
    except (tf.errors.OpError, RuntimeError, ValueError, AssertionError) as error:
        raise ExportError(f"tf_trt: the conversion failed: {error}. Nothing was published.") from error
