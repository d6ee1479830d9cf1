"""Inputs of a caller -> arrays that fit the served model exactly, or InvalidInput that says what to change."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from client.errors import InvalidInput
from client.padding import left_pad
from client.transport import ModelDescription, TensorDescription


def checked_inputs(features: Mapping[str, Any], description: ModelDescription) -> dict[str, np.ndarray]:
    """{name: value} -> {name: [B, *row shape]} in the served dtypes, one entry for each input of the model.

    Scalars may come as [B] or [B, 1]. Integers are cast if their values fit. A history given as a list of lists is
    padded with 0 on the left to the served width (see left_pad); an array must have that width.
    Raises InvalidInput for a missing, unknown or misshapen input, a wrong dtype, or unequal numbers of rows.
    """
    check_names(features, description.inputs, f"Model {description.model} takes")
    inputs = {name: checked_input(features[name], tensor) for name, tensor in description.inputs.items()}
    rows = {name: len(value) for name, value in inputs.items()}
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{name} {count}" for name, count in rows.items())
        raise InvalidInput(f"inputs differ in their number of rows: {counts}. Give every input the same rows.")
    return inputs


def checked_input(value: Any, tensor: TensorDescription) -> np.ndarray:
    """One input as a contiguous array [B, *tensor.shape] of tensor.dtype. Raises InvalidInput."""
    array = cast(_as_array(value, tensor), tensor.name, tensor.dtype)
    if tensor.shape == (1,) and array.ndim == 1:
        array = array[:, np.newaxis]
    expected = (-1, *tensor.shape)
    fits = array.ndim == len(expected) and all(w in (-1, g) for w, g in zip(expected, array.shape, strict=True))
    if not fits:
        raise InvalidInput(f"input {tensor.name}: got the shape {_shape(array.shape)}; expected {_wanted(tensor)}")
    return np.ascontiguousarray(array)


def cast(array: np.ndarray, name: str, dtype: np.dtype) -> np.ndarray:
    """The same values in another dtype, if none changes its meaning. Raises InvalidInput.

    Integers may become wider or narrower integers as long as every value fits, booleans and integers may become
    floats, and floats may become floats of another width.
    """
    if array.size == 0 or array.dtype == dtype:
        return array.astype(dtype, copy=False)
    is_integer = dtype.kind in "iu"
    if is_integer and array.dtype.kind in "iu":
        limits, low, high = np.iinfo(dtype), int(array.min()), int(array.max())
        if low < limits.min or high > limits.max:
            raise InvalidInput(
                f"input {name}: got values from {low} to {high}; expected {dtype.name}, which holds {limits.min} to "
                f"{limits.max}"
            )
        return array.astype(dtype)
    if array.dtype.kind in "biuf" and (dtype.kind == "f" or (is_integer and array.dtype.kind == "b")):
        return array.astype(dtype)
    hint = " Cast it yourself if its values are whole numbers." if is_integer and array.dtype.kind == "f" else ""
    raise InvalidInput(f"input {name}: got values of {array.dtype}; expected {dtype.name}.{hint}")


def check_names(features: Mapping[str, Any], tensors: Collection[str], takes: str, group: str = "inputs") -> None:
    """Raises InvalidInput unless features has exactly the names of tensors. takes, group: how to say it."""
    missing = [name for name in tensors if name not in features]
    unknown = [str(name) for name in features if name not in tensors]
    problems = [f"missing {', '.join(missing)}"] if missing else []
    problems += [f"unknown {', '.join(unknown)}"] if unknown else []
    if problems:
        raise InvalidInput(f"{group}: {'; '.join(problems)}. {takes}: {', '.join(tensors) or 'nothing'}")


def _as_array(value: Any, tensor: TensorDescription) -> np.ndarray:
    if _is_list_of_histories(value, tensor):
        try:
            return left_pad(value, tensor.shape[0], tensor.dtype)
        except (ValueError, TypeError, OverflowError) as error:
            raise InvalidInput(f"input {tensor.name}: {error}") from error
    try:
        return np.asarray(value)
    except ValueError as error:  # numpy refuses lists of different depths
        raise InvalidInput(f"input {tensor.name}: {error}; expected {_wanted(tensor)}") from error


def _is_list_of_histories(value: Any, tensor: TensorDescription) -> bool:
    is_history = len(tensor.shape) == 1 and tensor.shape[0] > 1
    is_list = isinstance(value, Sequence) or (isinstance(value, np.ndarray) and value.dtype == object)
    return is_history and is_list and all(isinstance(row, Sequence | np.ndarray) for row in value)


def _wanted(tensor: TensorDescription) -> str:
    if tensor.shape == (1,):
        return "[B] or [B, 1], one value a row"
    hint = ". Pad shorter histories on the left with client.left_pad" if len(tensor.shape) == 1 else ""
    return f"[B, {', '.join('any' if size == -1 else str(size) for size in tensor.shape)}]{hint}"


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"
