"""The second graph of a SavedModel: the same scores from the compiled CPU kernels of training/native.

It lies in assets.extra, which TensorFlow ignores, so the SavedModel stays what it is for every other program. Our
backend serves it where its kernels run (serving/backend/cpu_graph.h). It has no variables of its own.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from export.errors import ExportError
from export.parity import Parity, check_parity
from export.signatures import ServedModel
from training.feature_spec import FeatureSpec
from training.models import build_model
from training.models.base import CtrModel
from training.native import kernels_available
from training.settings import ModelSettings

FOLDER = Path("assets.extra") / "recserve_cpu"
INTERFACE = 1  # of the kernels' operations: raise it, and kInterface of the backend, when one changes its meaning
GRAPH = "saved_model.pb"
TWIN_OF = (GRAPH, "variables/variables.index")  # the index has a checksum of every variable


def add_cpu_graph(
    served: ServedModel, spec: FeatureSpec, settings: ModelSettings, saved_model: Path, rows: int, is_exact: bool
) -> Parity | None:
    """Adds the graph to the SavedModel of `served`, after it has scored `rows` as the model does eagerly.

    None, and nothing added, without compiled kernels. Raises ExportError like check_parity.
    """
    if not kernels_available():
        return None
    twin = _native_twin(served.model, spec, settings)
    with tempfile.TemporaryDirectory(dir=saved_model.parent, prefix=".cpu-") as folder:
        alone = Path(folder)
        native = ServedModel(twin, xla=False, with_rank=len(served.traced) > 1)
        tf.saved_model.save(native, str(alone), signatures=dict(native.traced))
        if _variables(alone) != _variables(saved_model):
            raise ExportError(
                "the graph of CPU kernels has other variables than the model. Export with --no_cpu_kernels."
            )
        parity = check_parity(served, dict.fromkeys(native.traced, alone), rows, is_exact)
        target = saved_model / FOLDER
        target.mkdir(parents=True)
        shutil.move(alone / GRAPH, target / GRAPH)
    description = {
        "interface": INTERFACE,
        "dtype": twin.dtype.name,
        "crc32": {name: zlib.crc32((saved_model / name).read_bytes()) for name in TWIN_OF},
    }
    (target / "cpu_graph.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return parity


def _native_twin(model: CtrModel, spec: FeatureSpec, settings: ModelSettings) -> CtrModel:
    """The model again, made of kernels, with the same variables."""
    twin = build_model(spec, settings, native=True)
    twin.dtype = model.dtype
    for theirs, ours in zip((model, *model.submodules), (twin, *twin.submodules), strict=True):
        for name, value in vars(theirs).items():
            if isinstance(value, tf.Variable):
                setattr(ours, name, value)
    return twin


def _variables(saved_model: Path) -> Mapping[str, list[int]]:
    return dict(tf.train.list_variables(str(saved_model / "variables" / "variables")))
