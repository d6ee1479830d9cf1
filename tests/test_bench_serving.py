"""`make bench-serving` on real Triton, as small as it goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="the server and its clients need a CPU each")
def test_both_backends_the_ceiling_and_ranking_are_measured_side_by_side(tmp_path: Path) -> None:
    options = ["--batches", "1,64", "--concurrency", "4", "--requests", "30", "--rounds", "1", "--candidates", "100"]
    command = [sys.executable, "-m", "tests.benchmarks.bench_serving", *options, "--no_memory", "--work", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout.splitlines()[-1])
    assert figures["benchmark"] == "serving"
    assert [(p["backend"], p["batch"]) for p in figures["points"]] == [
        ("native", 1), ("plain", 1), ("python", 1), ("native", 64), ("plain", 64), ("python", 64),
    ]  # fmt: skip
    assert all(p["rows_per_s"] > 0 and p["p99_ms"] >= p["p50_ms"] > 0 for p in figures["points"])
    assert all(figures["ceiling"][graph].keys() == {"1", "64"} for graph in ("native", "plain"))
    assert figures["load_s"].keys() == {"native", "plain", "python"}
    assert figures["rank"]["largest_difference"] < 1e-5
    assert figures["rank"]["largest_difference_bfloat16"] < 0.02
    alone = [(row["dtype"], row["candidates"]) for row in figures["rank"]["alone"]]
    assert alone == [(dtype, n) for n in (100, 200) for dtype in ("float32", "float32 plain", "bfloat16")]
    assert all(row["p99_ms"] >= row["p50_ms"] > 0 for row in figures["rank"]["alone"])
    assert 0 < figures["rank"]["share_of_peak"] < 1.5
    assert figures["ratios"]["rank_to_pointwise_request_bytes"] < 0.05
    assert {"load_native_to_python", "saturated_to_ceiling_batch_64"} <= figures["ratios"].keys()
    assert "Requests" in result.stdout
