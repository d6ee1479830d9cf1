"""The trials of `make test-faults` at a small size: kills, bad versions, full disks, publishes under load.

Overload has a file of its own, test_overload.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.trials import TRIALS, Sizes, run_trials

SMALL = Sizes(
    publishes=2, rollbacks=1, kills=2, triton_kills=1, rate=100.0, steady_s=4.0, users=150, compare_latency=False
)


@pytest.mark.slow
@pytest.mark.server
def test_the_last_good_version_serves_whatever_happens(tmp_path: Path) -> None:
    """Latencies are for `make test-faults`, on a machine that does nothing else."""
    results = run_trials(tmp_path, SMALL, [name for name in TRIALS if name != "overload"], print)
    assert {name: result["error"] for name, result in results.items() if "error" in result} == {}
    assert results["publishes"]["failed"] == results["publishes"]["wrong_answers"] == 0
    assert results["publishes"]["versions_that_answered"] >= 3
    assert results["kills_of_the_sidecar"]["kills"] == 2
