"""FeatureSpec -> rows to measure with: random ids inside their tables, as arrays and as perf_analyzer's JSON.

Random bytes would fall outside the tables, and then every lookup would hit the one padding row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from client.transport import TensorDescription
from perf.errors import MeasureError
from training.feature_spec import Feature, FeatureSpec

Columns = dict[str, np.ndarray]


def random_rows(spec: FeatureSpec, inputs: Mapping[str, TensorDescription], rows: int, seed: int = 0) -> Columns:
    """{input name: [rows, *row shape]} in the served dtypes; the same for the same seed.

    Ids are uniform in 1..cardinality. Histories are padded with 0 on the left; all histories of a row have the same
    length, drawn log-uniformly from 1 to T, since many users have short histories and few have long ones.
    Numerical features are uniform in [0, 1), or 0 and 1 for integers and booleans.
    Raises MeasureError if the model takes an input that the specification does not describe.
    """
    unknown = [name for name in inputs if name not in spec.features]
    if unknown:
        raise MeasureError(
            f"inputs {', '.join(unknown)}: the model takes them, but its feature_spec.yaml does not describe them; it "
            f"has: {', '.join(spec.features)}. Measure the version that this specification belongs to."
        )
    rng = np.random.default_rng(seed)
    fullness = rng.random(rows)  # one draw a row, so that item and category histories have the same length
    return {name: _column(spec.features[name], tensor, fullness, rng) for name, tensor in inputs.items()}


def perf_analyzer_json(columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """perf_analyzer's --input-data: one entry a row, without the batch axis. A request of B takes the next B rows."""
    flat = {
        name: (list(column.shape[1:]), column.reshape(len(column), -1).tolist()) for name, column in columns.items()
    }
    rows = len(next(iter(columns.values())))
    return {
        "data": [
            {name: {"content": values[row], "shape": shape} for name, (shape, values) in flat.items()}
            for row in range(rows)
        ]
    }


def write_perf_analyzer_json(columns: Mapping[str, np.ndarray], file: Path) -> None:
    file.write_text(json.dumps(perf_analyzer_json(columns)), encoding="utf-8")


def _column(feature: Feature, tensor: TensorDescription, fullness: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    rows = len(fullness)
    shape = tensor.shape if all(size > 0 for size in tensor.shape) else (feature.dimensions or (1,))
    if feature.cardinality is None:
        drawn = rng.random((rows, *shape))
        return (drawn if tensor.dtype.kind == "f" else drawn.round()).astype(tensor.dtype)
    ids = rng.integers(1, feature.cardinality + 1, (rows, *shape))
    if feature.is_sequence:
        width = shape[0]
        lengths = np.floor(np.exp(fullness * np.log(width + 1))).clip(1, width)  # [rows], 1..T
        is_item = np.arange(width) >= (width - lengths)[:, np.newaxis]  # [rows, T]
        ids = ids * is_item.reshape(rows, width, *(1 for _ in shape[1:]))
    return ids.astype(tensor.dtype)
