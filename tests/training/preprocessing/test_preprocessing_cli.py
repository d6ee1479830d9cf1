"""The three commands as a user calls them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from training.errors import DataError
from training.feature_spec import FeatureSpec
from training.preprocessing import cli
from training.preprocessing.stages import Stages

RECSERVE = Path(sys.executable).with_name("recserve")


def test_generate_preprocess_convert(tmp_path: Path) -> None:
    raw, parquet, records = (str(tmp_path / name) for name in ("raw", "parquet", "records"))
    runner = CliRunner()
    for command, arguments, said in (
        (cli.generate, ["--output_path", raw, "--users", "60", "--items", "90", "--categories", "5"], "generated"),
        (cli.preprocess, ["--amazon_dataset_path", raw, "--output_path", parquet], "preprocessed"),
        (cli.convert, ["--amazon_dataset_path", parquet, "--tfrecord_output_dir", records], "converted"),
    ):
        done = runner.invoke(command, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert done.stdout.startswith(said)
        assert "peak memory" in done.stdout
    spec = FeatureSpec.load(tmp_path / "records" / "feature_spec.yaml", check_files=True)
    assert spec.metadata["rows"]["train"] > 500


def test_progress_goes_to_standard_error_and_errors_have_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(RECSERVE), "generate", "--output_path", str(tmp_path / "raw"), "--users", "5"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr.splitlines() == ["write metadata …", "write reviews …"]
    done = subprocess.run(
        [str(RECSERVE), "preprocess", "--amazon_dataset_path", str(tmp_path), "--output_path", str(tmp_path / "out")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {tmp_path}: no file reviews_*.json or reviews_*.json.gz")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--negative_sampling", "lucky"],
        ["--shortest_sequence_for_user", "1"],
        ["--max_malformed_share", "1.5"],
        ["--rows_per_part", "0"],
    ],
)
def test_values_out_of_range_are_refused(arguments: list[str]) -> None:
    done = CliRunner().invoke(cli.preprocess, ["--amazon_dataset_path", "x", "--output_path", "y", *arguments])
    assert done.exit_code == 2
    assert arguments[0].strip("-") in done.output


def test_long_stages_say_where_they_are(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.preprocessing.stages.PLAIN_LINE_EVERY_S", 0.0)
    stages = Stages()
    with stages.stage("write train", "rows", 3000) as stage:
        stage.advance(1500)
    assert "write train: 1,500 of 3,000 rows" in capsys.readouterr().err
    assert list(stages.seconds) == ["write train"]


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the stream for a terminal
    with Stages().stage("write train", "rows", 3000) as stage:
        stage.advance(3000)
    assert "3000/3000" in capsys.readouterr().err


def test_a_stage_that_fails_is_not_timed() -> None:
    stages = Stages()
    with pytest.raises(DataError), stages.stage("write train"):
        raise DataError("broken")
    assert stages.seconds == {}
