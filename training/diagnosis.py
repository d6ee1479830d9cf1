"""Why a loss is not finite: a value of the data, or weights that have grown too large; each by name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from training.errors import TrainingError
from training.layers.embedding import EmbeddingTable
from training.models.base import CtrModel

SHOWN = 6
BOOKKEEPING = "_self_"  # attributes in which TensorFlow keeps a module's variables once more, for checkpoints


class NotFiniteError(TrainingError):
    """A loss or a weight became NaN or infinite."""


def explained(
    model: CtrModel,
    epoch: int,
    step: int,
    terms: Mapping[str, float],
    data: Mapping[str, tf.Tensor],
    before: Iterable[float],
) -> NotFiniteError:
    """terms: those of the step. data: its label and numeric features. before: total losses of the steps before it."""
    named = ", ".join(name for name, value in terms.items() if not np.isfinite(value))
    head = f"epoch {epoch}, step {step}: {named} is not finite"
    values = bad_values(data)
    if values:
        return NotFiniteError(
            f"{head}, because the data is not: {'; '.join(values)}. Fix these rows of the training files."
        )
    losses = ", ".join(f"{value:.4g}" for value in before)
    course = f" (total_loss of the steps before: {losses})" if losses else ""
    return NotFiniteError(f"{head}{course}; the data of the step is finite. {weights_message(model)}")


def weights_message(model: CtrModel) -> str:
    """Which variables are not finite now, and what to do."""
    variables = bad_variables(model)
    more = f" and {len(variables) - SHOWN} more" if len(variables) > SHOWN else ""
    state = (
        f"Not finite by now: {', '.join(variables[:SHOWN])}{more}." if variables else "The weights are still finite."
    )
    return (
        f"{state} Lower --lr, or set --gradient_clip_norm or --warmup_steps; "
        "checkpoints that were written before are good."
    )


def bad_values(data: Mapping[str, tf.Tensor]) -> list[str]:
    """`name: n of m rows (first: row i, value v)` for each column with NaN or infinity; rows count within the batch."""
    found = []
    for name, column in data.items():
        values = np.asarray(column, np.float32)
        bad: np.ndarray = np.flatnonzero(
            ~np.isfinite(values.reshape(len(values), math.prod(values.shape[1:]))).all(axis=1)
        )
        if len(bad):
            row = np.ravel(values[bad[0]])
            value = row[~np.isfinite(row)][0]
            found.append(f"{name}: {len(bad)} of {len(values)} rows (first: row {bad[0]} of the batch, {value})")
    return found


def bad_variables(model: CtrModel) -> list[str]:
    """Names of the trainable variables with NaN or infinity: tables by their features, others by their place."""
    named = _named_variables(model)
    return [name for name, variable in named if not bool(tf.reduce_all(tf.math.is_finite(variable)))]


def _named_variables(model: CtrModel) -> list[tuple[str, tf.Variable]]:
    seen: set[int] = set()
    named = []
    for path, owner, variable in _walk(model, "", model):
        if variable.trainable and id(variable) not in seen:
            seen.add(id(variable))
            named.append((f"the table of {owner.name}" if isinstance(owner, EmbeddingTable) else path, variable))
    return named


def _walk(value: Any, path: str, owner: Any) -> Iterator[tuple[str, Any, tf.Variable]]:
    if isinstance(value, tf.Variable):
        yield path, owner, value
        return
    if isinstance(value, tf.Module):
        own = [(name, part) for name, part in vars(value).items() if not name.startswith(BOOKKEEPING)]
        owner, parts = value, [(f".{name}" if path else name, part) for name, part in own]
    elif isinstance(value, Mapping):
        parts = [(f"[{key}]", part) for key, part in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(f"[{index}]", part) for index, part in enumerate(value)]
    else:
        return
    for name, part in parts:
        yield from _walk(part, path + name, owner)
