"""The path on real interactions; skipped where the data is not beside the project."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.data]


@pytest.mark.parametrize(("folder", "shortest", "auc"), [("ml1m", 20, 0.60), ("amazon_sports", 5, 0.55)])
def test_server_and_training_agree_on_real_data(
    folder: str, shortest: int, auc: float, whole_path, serve, recserve, assert_server_equals_training, tmp_path: Path
) -> None:
    """Each user's latest prefix, so that it takes a minute; the whole sets are measured in the README."""
    raw = DATA / folder
    if not raw.is_dir():
        pytest.skip(f"{raw} is not there")
    path = whole_path(tmp_path)
    path.prepare(raw, ("--shortest_sequence_for_user", shortest, "--prefixes_per_user", 1, "--seed", 1))
    path.train_and_export("--global_batch_size", 2048, "--epochs", 1)
    server = serve(path.models, tmp_path / "state")
    try:
        scores, summary = tmp_path / "scores.csv", tmp_path / "summary.json"
        arguments = ("--url", server.url, "--output_file", scores, "--summary_file", summary)
        recserve("score", "--data", path.data, *arguments)
    finally:
        server.stop()
    figures = assert_server_equals_training(path.checkpoints, path.data, scores, summary)
    print(json.dumps({"data": folder, **figures, "seconds": path.seconds}))
    assert figures["trained_auc"] > auc
