"""One user with many candidates -> arrays for a served rank model, their pieces, and the answers put together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from client.errors import InvalidInput, ServerError
from client.padding import left_pad
from client.transport import ModelDescription, TensorDescription
from client.validation import cast, check_names

Arrays = dict[str, np.ndarray]
Tensors = dict[str, TensorDescription]
OPEN = (-1,)


@dataclass(frozen=True)
class RankLayout:
    """The inputs of a rank model by what they belong to. steps: T, the longest history that counts."""

    model: str
    user: Tensors
    history: Tensors
    candidates: Tensors
    steps: int

    @classmethod
    def of(cls, description: ModelDescription) -> RankLayout:
        """Raises InvalidInput if the model has no rank signature."""
        named = description.parameters.get("RANK_CANDIDATES", "").split(",")
        candidates = {name: tensor for name, tensor in description.inputs.items() if name in named}
        if not candidates:
            raise InvalidInput(
                f"model {description.model} does not rank: it has no candidates in its configuration. "
                f"Name the model that `recserve export` published beside it, {description.model}_rank."
            )
        others = {name: tensor for name, tensor in description.inputs.items() if name not in candidates}
        return cls(
            description.model,
            {name: tensor for name, tensor in others.items() if tensor.shape != OPEN},
            {name: tensor for name, tensor in others.items() if tensor.shape == OPEN},
            candidates,
            int(description.parameters["RANK_HISTORY_STEPS"]),
        )


@dataclass(frozen=True)
class RankRequest:
    """users {name: [U, 1] or [U, t]}, candidates {name: [U, N]}, in the served dtypes.

    is_single: one user was given without an axis of users, and the answer has none.
    """

    users: Arrays
    candidates: Arrays
    is_single: bool

    @property
    def shape(self) -> tuple[int, int]:
        """U, N."""
        users, each = next(iter(self.candidates.values())).shape
        return users, each

    def pieces(self, most_users: int | None, most_candidates: int) -> Iterator[Arrays]:
        """Inputs of requests with at most so many users and candidates, user by user, then candidate by candidate."""
        users, each = self.shape
        step = most_users or max(users, 1)
        for start in range(0, users, step):
            part = {name: value[start : start + step] for name, value in self.users.items()}
            for first in range(0, each, most_candidates):
                last = first + most_candidates
                chosen = {
                    name: np.ascontiguousarray(value[start : start + step, first:last])
                    for name, value in self.candidates.items()
                }
                yield {**part, **chosen}

    def joined(self, answers: Sequence[np.ndarray], name: str, most_users: int | None) -> np.ndarray:
        """The answers to `pieces`, in their order -> [U, N], or [N] for one user."""
        users, each = self.shape
        step = most_users or max(users, 1)
        parts = iter(answers)
        rows = []
        for start in range(0, users if each else 0, step):
            count, row, width = min(step, users - start), [], 0
            while width < each:
                part = next(parts)
                if part.ndim != 2 or len(part) != count or not 0 < part.shape[1] <= each - width:
                    raise ServerError(
                        f"output {name}: got the shape {list(part.shape)}; expected {count} users with at most "
                        f"{each - width} candidates, as were sent"
                    )
                row.append(part)
                width += part.shape[1]
            rows.append(np.concatenate(row, axis=1))
        scores: np.ndarray = np.concatenate(rows) if rows else np.empty((users, each), np.float32)
        return scores[0] if self.is_single else scores


def checked_request(
    user: Mapping[str, Any], history: Mapping[str, Any], candidates: Mapping[str, Any], layout: RankLayout
) -> RankRequest:
    """One user: {name: value}, {name: [t]}, {name: [N]}. Several: {name: [U]}, {name: U lists}, {name: [U, N]}.

    Histories are oldest item first. They are sent with as many steps as the longest has, at most T: their newest.
    Raises InvalidInput for a missing, unknown or misshapen input, a wrong dtype, or unequal numbers of users, of
    steps of one user, or of candidates.
    """
    takes = f"Model {layout.model} takes"
    check_names(user, layout.user, takes, "user")
    check_names(history, layout.history, takes, "history")
    check_names(candidates, layout.candidates, takes, "candidates")
    is_single = all(_depth(value) == 1 for value in candidates.values())
    items = {name: _candidates(candidates[name], tensor, is_single) for name, tensor in layout.candidates.items()}
    _require_equal({name: value.shape[1] for name, value in items.items()}, "candidates", "candidates")
    users = {name: _user(user[name], tensor, is_single) for name, tensor in layout.user.items()}
    steps = {name: _steps(history[name], tensor, is_single) for name, tensor in layout.history.items()}
    counts = {name: len(value) for name, value in (items | users).items()}
    _require_equal(counts | {name: len(value) for name, value in steps.items()}, "users", "inputs")
    return RankRequest({**users, **_padded(steps, layout)}, items, is_single)


def _depth(value: Any) -> int:
    """Of nested lists; of an array its axes."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.ndim
    return 1 + (_depth(value[0]) if len(value) else 0) if isinstance(value, Sequence | np.ndarray) else 0


def _array(value: Any, tensor: TensorDescription, expected: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:  # numpy refuses lists of different lengths
        raise InvalidInput(f"input {tensor.name}: {error}; expected {expected}") from error
    return cast(array, tensor.name, tensor.dtype)


def _candidates(value: Any, tensor: TensorDescription, is_single: bool) -> np.ndarray:
    expected = "[N], or [U, N] for several users; rank users with other numbers of candidates by themselves"
    array = _array(value, tensor, expected)
    array = array[np.newaxis] if is_single else array
    if array.ndim != 2:
        raise InvalidInput(f"input {tensor.name}: got the shape {list(array.shape)}; expected {expected}")
    return array


def _user(value: Any, tensor: TensorDescription, is_single: bool) -> np.ndarray:
    expected = "one value" if is_single else "[U], one value for each user"
    array = _array(value, tensor, expected)
    fits = array.shape in ((), (1,)) if is_single else array.ndim in (1, 2) and array.size == len(array)
    if not fits:
        raise InvalidInput(f"input {tensor.name}: got the shape {list(array.shape)}; expected {expected}")
    return array.reshape(-1, 1)


def _steps(value: Any, tensor: TensorDescription, is_single: bool) -> list[np.ndarray]:
    """Each user's steps [t]."""
    expected = "a flat list of steps" if is_single else "a flat list of steps for each user"
    rows = [value] if is_single else value
    if not isinstance(rows, Sequence | np.ndarray):
        raise InvalidInput(f"input {tensor.name}: got {type(value).__name__}; expected {expected}")
    arrays = [_array(row, tensor, expected) for row in rows]
    for array in arrays:
        if array.ndim != 1:
            raise InvalidInput(f"input {tensor.name}: got steps of the shape {list(array.shape)}; expected {expected}")
    return arrays


def _padded(history: Mapping[str, list[np.ndarray]], layout: RankLayout) -> Arrays:
    """[U, t] each: the newest steps, without those that are padding for every user; one step at least."""
    lengths = {name: [len(row) for row in rows] for name, rows in history.items()}
    first = next(iter(lengths.values()), [])
    for name, counts in lengths.items():
        if counts != first:
            at = int(np.flatnonzero(np.array(counts) != np.array(first))[0])
            raise InvalidInput(
                f"history {name}: got {counts[at]} steps for user {at}, where {next(iter(lengths))} has {first[at]}. "
                "Give every feature of a history the same steps."
            )
    width = max(1, min(layout.steps, max(first, default=1)))
    padded = {name: left_pad(rows, width, layout.history[name].dtype) for name, rows in history.items()}  # type: ignore[arg-type]
    used = [np.flatnonzero(value.any(axis=0)) for value in padded.values()]
    oldest = min((int(steps[0]) for steps in used if steps.size), default=width - 1)
    return {name: np.ascontiguousarray(value[:, oldest:]) for name, value in padded.items()}


def _require_equal(counts: Mapping[str, int], of: str, what: str) -> None:
    if len(set(counts.values())) > 1:
        got = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InvalidInput(f"{what} differ in their number of {of}: {got}. Give all the same.")
