"""Parity: the exported SavedModel gives what the model gives eagerly, element by element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from export.errors import ExportError
from export.signatures import OUTPUTS, RANK, SIGNATURE, ServedModel, row_shape
from training.feature_spec import Feature

TOLERANCE = 1e-5
LOW_PRECISION_TOLERANCE = 0.03  # of the largest output; bfloat16 keeps 8 bits
RANK_CANDIDATES = 32  # of each user in the parity rows
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Parity:
    """Largest absolute difference over all rows and outputs. rank_rows: candidates compared; 0 without that signature.

    tolerance: what was allowed.
    """

    rows: int
    max_abs_difference: float
    rank_rows: int
    rank_max_abs_difference: float
    tolerance: float


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


def check_parity(served: ServedModel, saved_models: Mapping[str, Path], rows: int, is_exact: bool = True) -> Parity:
    """Scores the same rows eagerly and through the SavedModel on disk: all, one alone, and as candidates of users.

    The rank signature is compared with the pointwise rows that it stands for, with whole and with short histories.
    saved_models: {signature: the SavedModel that has it}. is_exact: computed in float32 on both sides.
    Raises ExportError if an output differs by more than 1e-5, or is not finite. A model that computes in lower
    precision may differ by 0.03 of the largest output, since its rounding depends on how operations are fused.
    """
    loaded = {path: tf.saved_model.load(str(path)) for path in set(saved_models.values())}
    signatures = {name: loaded[path].signatures[name] for name, path in saved_models.items()}
    inputs = parity_inputs(served.model.served, rows)
    pairs = [_pointwise(served, signatures[SIGNATURE], _part(inputs, n)) for n in (rows, 1)]
    ranked: list[tuple[Arrays, Arrays]] = []
    users = max(2, rows // RANK_CANDIDATES)
    if RANK in signatures:
        steps = max(f.dimensions[0] for f in served.model.served if f.dimensions)
        for sent in (steps, max(1, steps // 4)):
            ranked.append(_ranked(served, signatures[RANK], _part(inputs, users), sent))
    largest = max(float(np.max(np.abs(expected[o]))) for expected, _ in pairs for o in OUTPUTS)
    tolerance = TOLERANCE if is_exact else LOW_PRECISION_TOLERANCE * max(1.0, largest)
    worst, worst_ranked = (_worst(found) for found in (pairs, ranked))
    for name, difference in ((SIGNATURE, worst), (RANK, worst_ranked)):
        if not difference <= tolerance:
            raise ExportError(
                f"parity: signature {name} of the SavedModel differs from the model by {difference:.3g} (expected at "
                f"most {tolerance:g}). Nothing was published. Export without --xla, or check the weights for NaN."
            )
    return Parity(rows, worst, users * RANK_CANDIDATES if ranked else 0, worst_ranked, tolerance)


def _pointwise(served: ServedModel, signature: Any, inputs: Arrays) -> tuple[Arrays, Arrays]:
    """Outputs of the model and of the signature."""
    return _outputs(served.score, inputs), _outputs(signature, inputs)


def _ranked(served: ServedModel, signature: Any, inputs: Arrays, steps: int) -> tuple[Arrays, Arrays]:
    """The same for candidates of each user [U, N], out of all of the tables, with the newest steps of the histories."""
    model, users = served.model, len(next(iter(inputs.values())))
    drawn = parity_inputs(model.candidates, users * RANK_CANDIDATES, seed=1)
    candidates = {name: values.reshape(users, RANK_CANDIDATES) for name, values in drawn.items()}
    newest = {f.name: inputs[f.name][:, -steps:] if f.dimensions else inputs[f.name] for f in model.served}
    rows = {name: np.repeat(values, RANK_CANDIDATES, axis=0) for name, values in inputs.items()}
    for f in model.served:
        if f.dimensions:
            rows[f.name][:, : f.dimensions[0] - steps] = 0
    expected = _outputs(served.score, {**rows, **drawn})
    as_ranked = {name: values.reshape(users, RANK_CANDIDATES) for name, values in expected.items()}
    return as_ranked, _outputs(signature, {**newest, **candidates})


def _part(inputs: Arrays, rows: int) -> Arrays:
    return {name: values[:rows] for name, values in inputs.items()}


def _outputs(signature: Any, inputs: Arrays) -> Arrays:
    outputs: Mapping[str, tf.Tensor] = signature(**{name: tf.constant(values) for name, values in inputs.items()})
    return {name: outputs[name].numpy() for name in OUTPUTS}


def _worst(pairs: Sequence[tuple[Arrays, Arrays]]) -> float:
    """Largest difference, 0 without any; NaN if one is, which Python's max would lose."""
    return float(np.max([0.0, *(np.max(np.abs(a[o] - b[o])) for a, b in pairs for o in OUTPUTS)]))
