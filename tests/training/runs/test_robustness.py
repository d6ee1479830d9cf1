"""A kill in the middle of a checkpoint, a full disk: the last good checkpoint stays, and the message is clear."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from training.checkpoint import open_checkpoint
from training.errors import CheckpointError

OPTIONS = ("--model_type", "din", "--global_batch_size", 400)
TIMEOUT_S = 300
# the weights are written, the rest of the folder is not; the first epoch writes two folders, one before its evaluation
STOP_IN_THE_SECOND_EPOCHS_WRITE = """
import pathlib, time
from training.feature_spec import FeatureSpec
save, calls = FeatureSpec.save, []
def slow(self, path):
    calls.append(path)
    if len(calls) == 3:
        pathlib.Path({marker!r}).touch()
        time.sleep(600)
    save(self, path)
FeatureSpec.save = slow
"""
LIMIT_THE_SECOND_EPOCHS_WRITE = """
import resource
import tensorflow as tf
write, calls = tf.train.Checkpoint.write, []
def limited(self, path):
    calls.append(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if len(calls) == 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        return write(self, path)
    finally:  # what measures the coverage writes a file too
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
tf.train.Checkpoint.write = limited
"""


def pages(size_bytes: int) -> int:
    """What a file takes of the small disk."""
    return -(-size_bytes // 4096) * 4096


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"cannot mount a file system: {error}")
    if done.returncode:
        pytest.skip(f"cannot mount a file system: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_kill_9_while_a_checkpoint_is_written_leaves_the_last_one(
    fast_dataset: Path, tmp_path: Path, start_training, train
) -> None:
    checkpoints, marker = tmp_path / "ck", tmp_path / "marker"
    save = (*OPTIONS, "--save_checkpoint_path", checkpoints)
    process = start_training(
        fast_dataset, tmp_path, *save, code=STOP_IN_THE_SECOND_EPOCHS_WRITE.format(marker=str(marker))
    )
    end = time.monotonic() + TIMEOUT_S
    while not marker.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    assert marker.exists(), process.communicate(timeout=10)
    process.send_signal(signal.SIGKILL)
    assert process.wait(TIMEOUT_S) == -signal.SIGKILL
    unfinished = [f.name for f in checkpoints.iterdir() if f.name.startswith(".")]
    assert len(unfinished) == 1
    assert open_checkpoint(checkpoints).epoch == 1
    open_checkpoint(checkpoints).restore_model()
    result = train(fast_dataset, tmp_path, *save, "--load_checkpoint_path", checkpoints)
    assert result.exit_code == 0
    assert sorted(f.name for f in checkpoints.iterdir()) == ["epoch-0002", "epoch-0003"]


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_leaves_the_last_checkpoint(
    fast_dataset: Path, small_disk: Path, tmp_path, train
) -> None:
    train(fast_dataset, tmp_path, *OPTIONS, "--epochs", 1, "--save_checkpoint_path", tmp_path / "ck")
    sizes = {f.name: pages(f.stat().st_size) for f in (tmp_path / "ck" / "epoch-0001").iterdir()}
    weights = sum(size for name, size in sizes.items() if name.startswith("variables"))
    enough_for_one = (
        2 * sum(sizes.values()) - weights + pages(1600 * 8 + 1000)
    )  # the weights once, and the pass's scores
    (small_disk / "other").write_bytes(b"x" * (shutil.disk_usage(small_disk).free - enough_for_one - weights // 2))
    checkpoints = small_disk / "ck"
    with pytest.raises(
        CheckpointError,
        match=r"epoch-0002-step-000004: could not be written: No space left on device\. Earlier checkpoints are untou",
    ):
        train(fast_dataset, tmp_path, *OPTIONS, "--save_checkpoint_path", checkpoints)
    assert [f.name for f in checkpoints.iterdir()] == ["epoch-0001"]
    open_checkpoint(checkpoints).restore_model()
    (small_disk / "other").unlink()
    resume = ("--load_checkpoint_path", checkpoints, "--save_checkpoint_path", checkpoints, "--epochs", 2)
    assert "| 2 |" in train(fast_dataset, tmp_path, *OPTIONS, *resume).stdout


@pytest.mark.slow
def test_a_limit_on_file_sizes_ends_the_run_and_leaves_the_last_checkpoint(
    fast_dataset: Path, tmp_path: Path, start_training
) -> None:
    checkpoints = tmp_path / "ck"
    process = start_training(
        fast_dataset, tmp_path, *OPTIONS, "--save_checkpoint_path", checkpoints, code=LIMIT_THE_SECOND_EPOCHS_WRITE
    )
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert "Error: " in errors
    assert "epoch-0002-step-000004: could not be written: File too large" in errors
    assert "Traceback" not in errors
    assert [f.name for f in checkpoints.iterdir()] == ["epoch-0001"]
    open_checkpoint(checkpoints).restore_model()


@pytest.mark.slow
def test_a_log_that_cannot_be_written_is_a_clear_error(fast_dataset: Path, small_disk: Path, start_training) -> None:
    (small_disk / "other").write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 8192))
    process = start_training(fast_dataset, small_disk, *OPTIONS, "--global_batch_size", 4)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert "results_dir: cannot write the log" in errors
    assert "No space left on device" in errors
    assert "Traceback" not in errors
