"""Two real Horovod processes over Gloo on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.training.options import PATIENT, SMALL, SMALLEST
from training.checkpoint import open_checkpoint
from training.distributed import start_workers
from training.errors import SettingsError

ROOT = Path(__file__).parents[2]
HOROVODRUN = [str(Path(sys.executable).with_name("horovodrun")), "--gloo", "--disable-cache"]
LONGEST_LOSS_S = 60


def environment() -> dict[str, str]:
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}


def command(dataset: Path, folder: Path, processes: int, *options: str) -> list[str]:
    launcher = [*HOROVODRUN, "-np", str(processes)] if processes > 1 else []
    return [
        *launcher, sys.executable, "-m", "training", "--dataset_dir", str(dataset), "--seed", "1",
        "--save_checkpoint_path", str(folder / "ck"), "--results_dir", str(folder / "results"), *options,
    ]  # fmt: skip


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    patient = {**environment(), **PATIENT}
    return subprocess.run(arguments, capture_output=True, text=True, timeout=240, env=patient, cwd=ROOT, check=False)


def rank_process(launcher: psutil.Process, rank: int) -> psutil.Process | None:
    """The Python process of a rank below horovodrun, which starts it through a shell."""
    for process in launcher.children(recursive=True):
        try:
            if process.name().startswith("python") and process.environ().get("HOROVOD_RANK") == str(rank):
                return process
        except psutil.Error:
            continue  # it ended while we looked
    return None


@pytest.mark.slow
def test_two_processes_train_what_one_does(tiny_dataset: Path, tmp_path: Path) -> None:
    """An odd batch over two ranks, a last batch of one row: the mean gradient is that of one process, to rounding."""
    metrics = {}
    for processes in (1, 2):
        folder = tmp_path / f"{processes}"
        done = run(command(tiny_dataset, folder, processes, *SMALL, "--global_batch_size", "599", "--epochs", "2"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"{processes} process" in done.stdout
        metrics[processes] = open_checkpoint(folder / "ck").metrics
    assert metrics[2]["processes"] == 2
    assert metrics[2]["rows"] == metrics[1]["rows"] == {"train": 600, "test": 200}
    assert metrics[2]["test_auc"] == pytest.approx(metrics[1]["test_auc"], abs=0.01)
    assert metrics[2]["test_loss"] == pytest.approx(metrics[1]["test_loss"], rel=0.02)


@pytest.mark.slow
def test_an_error_on_all_ranks_ends_the_run_with_its_message(tiny_dataset: Path, tmp_path: Path) -> None:
    done = run(command(tiny_dataset, tmp_path, 2, *SMALLEST, "--global_batch_size", "1"))
    assert done.returncode != 0
    assert "global_batch_size: expected at least one row per process (2), got 1" in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lost", "how", "message"),
    [
        (0, signal.SIGKILL, "Process 0 exit with status code 137"),
        (1, signal.SIGKILL, "Process 1 exit with status code 137"),
        (1, signal.SIGSTOP, "rank 0 of 2: another process ended or cannot be reached"),
    ],
    ids=["first_killed", "other_killed", "other_hangs"],
)
def test_a_lost_rank_ends_the_run_in_bounded_time(
    tiny_dataset: Path, tmp_path: Path, lost: int, how: signal.Signals, message: str
) -> None:
    options = (*SMALLEST, "--global_batch_size", "64", "--epochs", "100000")
    with subprocess.Popen(
        command(tiny_dataset, tmp_path, 2, *options),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(), cwd=ROOT,
    ) as launcher:  # fmt: skip
        try:
            _wait_for(tmp_path / "ck" / "epoch-0001")
            process = rank_process(psutil.Process(launcher.pid), lost)
            assert process is not None
            process.send_signal(how)
            start = time.monotonic()
            output, _ = launcher.communicate(timeout=2 * LONGEST_LOSS_S)
        finally:
            for left in psutil.Process(launcher.pid).children(recursive=True) if launcher.poll() is None else []:
                left.kill()
            launcher.kill()
    assert launcher.returncode != 0
    assert message in output
    assert time.monotonic() - start < LONGEST_LOSS_S
    assert open_checkpoint(tmp_path / "ck").epoch >= 1


def test_one_process_does_not_import_horovod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "horovod.tensorflow", None)
    assert start_workers().size == 1


def test_asked_for_several_processes_without_horovod_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "horovod.tensorflow", None)
    monkeypatch.setenv("HOROVOD_SIZE", "2")
    with pytest.raises(SettingsError, match="make horovod"):
        start_workers()


def test_horovods_elastic_mode_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOROVOD_ELASTIC", "1")
    with pytest.raises(SettingsError, match=r"expected a fixed list of hosts.*train_elastic\.py"):
        start_workers()


def _wait_for(path: Path, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"no {path} after {seconds} s"
        time.sleep(0.2)
