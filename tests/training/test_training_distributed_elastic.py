"""deploy/train_elastic.py with real processes: two, one of them lost, on with one, then with two again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.training.options import SMALLEST
from training.checkpoint import open_checkpoint
from training.errors import TrainingError

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "train_elastic.py"
PATIENCE_S = 300


def elastic(folder: Path, *command: str) -> list[str]:
    """The script over a list of hosts in folder/hosts."""
    discover = folder / "hosts.sh"
    discover.write_text(f"#!/bin/sh\ncat {folder}/hosts\n")
    discover.chmod(0o755)
    return [
        sys.executable,
        str(SCRIPT),
        "--discover",
        str(discover),
        "--checkpoints",
        str(folder / "ck"),
        "--",
        *command,
    ]


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT), "PATH": path}


def waiter(run: subprocess.Popen[bytes], log: Path) -> Callable[[Callable[[], bool], str], None]:
    """Waits for a condition while the run goes on; its log is in the failure."""

    def wait_until(condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert run.poll() is None, f"ended with {run.returncode} before {what}\n{log.read_text()}"
            assert time.monotonic() < end, f"not within {PATIENCE_S} s: {what}\n{log.read_text()}"
            time.sleep(0.2)

    return wait_until


def saved(folder: Path) -> tuple[int, int]:
    """(epoch, processes) of the newest checkpoint, zeros if there is none yet."""
    try:
        metrics = open_checkpoint(folder / "ck").metrics
    except (TrainingError, OSError):  # none yet, or pruned while we read
        return 0, 0
    return metrics["epoch"], metrics["processes"]


def kill_rank(launcher: int, rank: int) -> None:
    for process in psutil.Process(launcher).children(recursive=True):
        try:
            if process.name().startswith("python") and process.environ().get("HOROVOD_RANK") == str(rank):
                process.kill()
                return
        except psutil.Error:
            continue  # it ended while we looked
    raise AssertionError(f"no rank {rank}")


@pytest.mark.slow
def test_training_goes_on_with_the_hosts_that_there_are(tiny_dataset: Path, tmp_path: Path) -> None:
    hosts, log = tmp_path / "hosts", tmp_path / "log"
    hosts.write_text("localhost:2\n")
    command = elastic(
        tmp_path, sys.executable, "-m", "training", "--dataset_dir", str(tiny_dataset), "--seed", "1", *SMALLEST,
        "--global_batch_size", "64", "--epochs", "100000", "--results_dir", str(tmp_path / "results"),
        "--save_checkpoint_path", str(tmp_path / "ck"),
    )  # fmt: skip
    with (
        log.open("w") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env=environment(), cwd=ROOT) as run,
    ):
        wait_until = waiter(run, log)
        try:
            wait_until(lambda: saved(tmp_path)[1] == 2, "a checkpoint of two processes")
            first, _ = saved(tmp_path)
            kill_rank(run.pid, 1)
            wait_until(lambda: "ended with exit code" in log.read_text(), "the end of the run that lost a rank")
            hosts.write_text("localhost:1\n")
            wait_until(lambda: saved(tmp_path)[1] == 1, "a checkpoint of one process")
            second, _ = saved(tmp_path)
            hosts.write_text("localhost:2\n")
            wait_until(lambda: saved(tmp_path)[1] == 2, "a checkpoint of two processes again")
            third, _ = saved(tmp_path)
            run.send_signal(signal.SIGTERM)
            assert run.wait(120) != 0
        finally:
            for left in psutil.Process(run.pid).children(recursive=True) if run.poll() is None else []:
                left.kill()
            run.kill()
    assert 1 <= first < second < third
    text = log.read_text()
    assert text.count("--load_checkpoint_path") >= 2
    assert "hosts: localhost:2 instead of localhost:1; stopping for a restart" in text


def test_it_gives_up_after_runs_that_bring_nothing(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("localhost\n")
    command = elastic(tmp_path, sys.executable, "-c", "raise SystemExit(3)")
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=environment(), cwd=ROOT, check=False
    )
    assert done.returncode != 0
    assert done.stderr.count("horovodrun -np 1 -H localhost:1") == 3
    assert "3 runs in a row without a new checkpoint" in done.stderr


def discovered_by(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A run of some seconds, with hosts from another script."""
    command = elastic(folder, sys.executable, "-c", "import time; time.sleep(7)")
    (folder / "hosts.sh").write_text(f"#!/bin/sh\n{script}\n")
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=environment(), cwd=ROOT, check=False
    )


def test_the_same_hosts_in_another_order_change_nothing(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    alternating = f"if rm {flag} 2>/dev/null; then echo localhost:1; echo 127.0.0.1:1"
    alternating += f"; else touch {flag}; echo 127.0.0.1:1; echo localhost:1; fi"
    done = discovered_by(alternating, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("train_elastic: horovodrun") == 1


def test_a_discovery_that_fails_or_prints_nonsense_leaves_the_run_alone(tmp_path: Path) -> None:
    state = tmp_path / "calls"
    script = f'echo >> {state}; case $(wc -l < {state}) in 1) echo localhost;; 2) echo "localhost:x";; *) exit 3;; esac'
    done = discovered_by(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "printed 'localhost:x'; expected host or host:processes" in done.stderr
    assert "non-zero exit status 3" in done.stderr
