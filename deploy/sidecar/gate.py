"""The gate: a version is published only if its test metric is not worse than the live one's by more than a bound."""

from __future__ import annotations

import math
from dataclasses import dataclass

LOWER_IS_BETTER = ("loss",)


@dataclass(frozen=True)
class Verdict:
    """reason: a sentence with the figures, also when it passes."""

    passed: bool
    reason: str


def judge(metric: str, value: float, baseline: float | None, max_drop: float, compared_with: str = "") -> Verdict:
    """baseline: the live version's metric, None without one. compared_with: where the baseline comes from.

    A metric that is not a finite number never passes.
    """
    if not math.isfinite(value):
        return Verdict(False, f"test {metric} is {value}; expected a finite number. Look at the test rows.")
    if baseline is None:
        return Verdict(True, f"test {metric} {value:.6f}; there is no version to compare with")
    drop = value - baseline if metric in LOWER_IS_BETTER else baseline - value
    change = f"{'worse' if drop > 0 else 'better'} by {abs(drop):.6f}"
    figures = f"test {metric} {value:.6f}, live {baseline:.6f} ({compared_with}), {change}"
    if drop > max_drop:
        return Verdict(False, f"{figures}; expected at most {max_drop:g}")
    return Verdict(True, f"{figures}, allowed {max_drop:g}")
