"""Two real Horovod processes over Gloo."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from training.checkpoint import open_checkpoint
from training.distributed import start_workers
from training.errors import SettingsError

HOROVODRUN = Path(sys.executable).with_name("horovodrun")
SMALL = ["--embedding_dim", "4", "--stage_one_mlp_dims", "8", "--stage_two_mlp_dims", "8", "--aux_mlp_dims", "6,4"]


def train(dataset: Path, checkpoints: Path, processes: int, *options: str) -> subprocess.CompletedProcess[str]:
    launcher = [str(HOROVODRUN), "-np", str(processes), "--gloo"] if processes > 1 else []
    command = [
        *launcher, sys.executable, "-m", "training", "--dataset_dir", str(dataset), "--seed", "1", *SMALL,
        "--save_checkpoint_path", str(checkpoints), "--results_dir", str(checkpoints.parent / "results"), *options,
    ]  # fmt: skip
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    root = Path(__file__).parents[2]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, cwd=root, check=False)


@pytest.mark.slow
def test_two_processes_train_what_one_does(tiny_dataset: Path, tmp_path: Path) -> None:
    """An odd batch over two ranks, a last batch of one row: the mean gradient is that of one process, to rounding."""
    metrics = {}
    for processes in (1, 2):
        done = train(
            tiny_dataset, tmp_path / f"{processes}" / "ck", processes, "--global_batch_size", "599", "--epochs", "2"
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"{processes} process" in done.stdout
        metrics[processes] = open_checkpoint(tmp_path / f"{processes}" / "ck").metrics
    assert metrics[2]["processes"] == 2
    assert metrics[2]["rows"] == metrics[1]["rows"] == {"train": 600, "test": 200}
    assert metrics[2]["test_auc"] == pytest.approx(metrics[1]["test_auc"], abs=0.01)
    assert metrics[2]["test_loss"] == pytest.approx(metrics[1]["test_loss"], rel=0.02)


@pytest.mark.slow
def test_an_error_on_all_ranks_ends_the_run_with_its_message(tiny_dataset: Path, tmp_path: Path) -> None:
    done = train(tiny_dataset, tmp_path / "ck", 2, "--global_batch_size", "1")
    assert done.returncode != 0
    assert "global_batch_size: expected at least one row per process (2), got 1" in done.stdout + done.stderr


def test_one_process_does_not_import_horovod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "horovod.tensorflow", None)
    assert start_workers().size == 1


def test_asked_for_several_processes_without_horovod_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "horovod.tensorflow", None)
    monkeypatch.setenv("HOROVOD_SIZE", "2")
    with pytest.raises(SettingsError, match="make horovod"):
        start_workers()
