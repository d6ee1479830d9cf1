"""One module per chunk type, found by the type's name: files -> records -> columns. parquet and csv go here."""

from __future__ import annotations

import importlib
from types import ModuleType

from training.errors import DataError
from training.feature_spec import Chunk

MODULES = {"tfrecord": "training.readers.tfrecord"}


def reader_of(chunk: Chunk) -> ModuleType:
    """The module that reads this chunk. Raises DataError for a type that has none."""
    if chunk.type not in MODULES:
        raise DataError(
            f"source_spec: chunk type {chunk.type!r} cannot be trained on; expected {', '.join(MODULES)}. "
            "Convert Parquet with `recserve convert`."
        )
    return importlib.import_module(MODULES[chunk.type])
