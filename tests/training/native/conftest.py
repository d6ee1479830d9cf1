"""The compiled kernels' tests: without a compiler there is nothing to test."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _needs_kernels() -> None:
    from training.native import kernels_available

    if not kernels_available():
        pytest.skip(
            "the CPU kernels are not compiled; run `python -m training.native.build`, which needs a C++ compiler"
        )
