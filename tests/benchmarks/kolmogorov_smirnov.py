"""The two-sample Kolmogorov-Smirnov test with its exact p-value: the samples here are a handful of seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class KsResult(NamedTuple):
    """statistic: largest distance of the two empirical distributions. p_value: two-sided."""

    statistic: float
    p_value: float


def two_sample_ks(first: Sequence[float], second: Sequence[float]) -> KsResult:
    """Hodges (1958), The significance probability of the Smirnov two-sample test, Arkiv för Matematik 3, 469-486.

    first: [n], second: [m], finite. Under the null hypothesis every order of the n + m values is as likely: an order
    is a path from (0, 0) to (n, m), and the p-value is the share of paths that somewhere reach |i/n − j/m| ≥ D.
    With ties it is an upper bound. Takes n·m steps. Raises ValueError for an empty sample or a number not finite.
    """
    a, b = np.sort(np.asarray(first, np.float64)), np.sort(np.asarray(second, np.float64))
    if not (a.size and b.size and np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError(f"two_sample_ks: expected two samples of finite numbers, got {a.tolist()} and {b.tolist()}")
    n, m = a.size, b.size
    values = np.concatenate([a, b])
    below_a, below_b = (np.searchsorted(sample, values, "right") for sample in (a, b))
    reached = int(np.abs(below_a * m - below_b * n).max())  # D·n·m, a whole number
    return KsResult(reached / (n * m), 1 - _paths_within(n, m, reached) / math.comb(n + m, n))


def _paths_within(n: int, m: int, reached: int) -> int:
    """Paths all of whose points have |i·m − j·n| < reached."""
    paths = [int(j * n < reached) for j in range(m + 1)]  # i = 0
    for j in range(1, m + 1):
        paths[j] *= paths[j - 1]
    for i in range(1, n + 1):
        paths[0] *= int(i * m < reached)
        for j in range(1, m + 1):
            paths[j] = paths[j] + paths[j - 1] if abs(i * m - j * n) < reached else 0
    return paths[m]
