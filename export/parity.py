"""Parity: the exported SavedModel gives what the model gives eagerly, element by element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from export.errors import ExportError
from export.signatures import OUTPUTS, SIGNATURE, ServedModel, row_shape
from training.feature_spec import Feature

TOLERANCE = 1e-5


@dataclass(frozen=True)
class Parity:
    """Largest absolute difference over all rows and outputs."""

    rows: int
    max_abs_difference: float


def parity_inputs(features: Sequence[Feature], rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Rows inside the tables, with left-padded histories of all lengths; the last row has unknown ids throughout.

    The first row is all padding. {name: [rows, …]} in the features' dtypes.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.random(rows)  # one share per row, so that the histories of a row are equally long
    lengths[0] = 0.0
    inputs: dict[str, np.ndarray] = {}
    for feature in features:
        shape = (rows, *row_shape(feature))
        values: np.ndarray
        if feature.cardinality is None:
            values = rng.standard_normal(shape).astype(feature.dtype)
        else:
            values = rng.integers(1, feature.cardinality + 1, shape)
            if feature.is_sequence:
                steps = np.arange(shape[1]) >= shape[1] * (1.0 - lengths[:, None])
                values = values * steps.reshape(rows, shape[1], *[1] * (len(shape) - 2))
            values[-1] = np.iinfo(feature.dtype).max if feature.dtype.kind in "iu" else feature.cardinality
        inputs[feature.name] = values.astype(feature.dtype)
    return inputs


def check_parity(served: ServedModel, saved_model: Path, rows: int) -> Parity:
    """Scores the same rows eagerly and through the SavedModel on disk, also one row alone.

    Raises ExportError if an output differs by more than 1e-5, or is not finite.
    """
    loaded = tf.saved_model.load(str(saved_model)).signatures[SIGNATURE]
    inputs = parity_inputs(served.model.served, rows)
    differences = []
    for part in (slice(None), slice(0, 1)):
        feed = {name: tf.constant(values[part]) for name, values in inputs.items()}
        differences += _differences(served.score(**feed), loaded(**feed))
    worst = float(np.max(differences))  # NaN if any is: Python's max would lose it
    if not worst <= TOLERANCE:
        raise ExportError(
            f"parity: the SavedModel differs from the model by {worst:.3g} (expected at most {TOLERANCE:g}). "
            "Nothing was published. Export without --xla, or check the weights for NaN."
        )
    return Parity(rows, worst)


def _differences(expected: Mapping[str, tf.Tensor], got: Mapping[str, tf.Tensor]) -> list[np.float32]:
    return [np.max(np.abs(expected[o].numpy() - got[o].numpy())) for o in OUTPUTS]
