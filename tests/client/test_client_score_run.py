"""Scores that are no numbers, places that cannot be written, and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from client import OutputFileError, Scorer, ServerError
from client.cli import score
from client.output_files import writing
from client.rows import Part, RowSource
from client.score_files import ScoreFile
from client.score_run import score_rows
from client.termination import termination_as_exit


@pytest.fixture
def rows(tmp_path: Path) -> RowSource:
    file = tmp_path / "in" / "rows.jsonl"
    file.parent.mkdir()
    file.write_text("".join(f'{{"user_id": {i}, "item_id_pos": [1], "price": 0.5}}\n' for i in range(10)))
    return RowSource((Part((file,), {n: n for n in ("user_id", "item_id_pos", "price")}),), None, None)


def test_scores_that_are_not_finite_are_an_error_with_their_number(tools: Any, rows: RowSource, tmp_path: Path) -> None:
    class Odd(tools.FakeTransport):
        def infer(self, *args: Any) -> dict[str, np.ndarray]:
            answer = super().infer(*args)
            answer["probability"][answer["logit"] == 4] = np.nan
            answer["logit"][answer["logit"] == 9] = np.inf
            return answer

    with (
        pytest.raises(ServerError, match=r"sim, version 7: got scores that are not finite .* for 2 of 10 rows"),
        Scorer(Odd()) as scorer,
        ScoreFile(tmp_path / "scores.csv") as file,
    ):
        score_rows(scorer, rows, file)
    assert [f.name for f in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("option", ["--output_file", "--summary_file"])
def test_a_place_that_cannot_be_written_is_said_before_connecting(rows: RowSource, tmp_path: Path, option: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.csv").mkdir()
    data = rows.parts[0].files[0]
    for place in (tmp_path / "file" / "scores.csv", tmp_path / "folder.csv"):
        arguments = ["--data", str(data), "--url", "127.0.0.1:9", option, str(place)]
        result = CliRunner().invoke(score, arguments)
        assert isinstance(result.exception, OutputFileError), result.exception
        assert str(place) in str(result.exception)


def test_a_full_disk_is_no_traceback_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputFileError, match="full: cannot be written: No space left"), writing(tmp_path / "full"):
        Path("/dev/full").write_text("x" * 10_000)


def test_signals_end_in_exit_and_are_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    cleaned = False
    with pytest.raises(SystemExit) as caught, termination_as_exit():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # an impatient user does not break the cleaning up
            cleaned = True
    assert caught.value.code == 128 + signal.SIGTERM
    assert cleaned
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_terminated_score_command_leaves_no_pieces(rows: RowSource, tmp_path: Path) -> None:
    """It waits for a server that accepts nobody: its staged file is there by then."""
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "recserve", "score", "--data", str(rows.parts[0].files[0]), "--url", "127.0.0.1:9",
        "--output_file", str(out / "scores.csv"), "--deadline_s", "60",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not (out.is_dir() and list(out.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert list(out.iterdir()) == []
    assert "Traceback" not in said
