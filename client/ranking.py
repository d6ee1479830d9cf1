"""The best of many candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from client.errors import InvalidInput


@dataclass(frozen=True)
class Ranking:
    """order: positions of the candidates as they were given, best first. scores: theirs. Both [n], or [U, n]."""

    order: np.ndarray
    scores: np.ndarray


def best(scores: np.ndarray, n: int | None) -> Ranking:
    """scores [N] or [U, N] -> the n highest; all if n is None or more than N. Of equal ones the earlier comes first."""
    if n is not None and n < 1:
        raise InvalidInput(f"n: got {n}; expected at least 1")
    order = np.argsort(-scores, axis=-1, kind="stable")[..., :n]
    return Ranking(order, np.take_along_axis(scores, order, axis=-1))
