"""A run that ends within the evaluation of an epoch has lost no step of it: a resumed run only evaluates."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from training.checkpoint import open_checkpoint
from training.checkpoint_folders import checkpoint_folders

HOROVODRUN = Path(sys.executable).with_name("horovodrun")
OPTIONS = ("--model_type", "din", "--global_batch_size", 4, "--epochs", 1, "--seed", 5)
SECONDS_OF_HOROVODRUN = 5  # that it waits after SIGTERM before it kills
STEPS = 40
TIMEOUT_S = 300
METRICS = ("train_auc", "train_loss", "test_auc", "test_gauc", "test_loss", "validation_auc", "validation_loss")


@pytest.fixture(scope="module")
def long_evaluation(write_validated) -> Path:
    """40 steps of 4 rows, then 2,000 batches of the test mapping."""
    return write_validated(train_rows=4 * STEPS, test_rows=8000, history=20, longest=8)


def wait_for_evaluation(process: subprocess.Popen[str], checkpoints: Path) -> None:
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end and process.poll() is None:
        if checkpoint_folders(checkpoints):
            return
        time.sleep(0.02)
    pytest.fail(f"no checkpoint: {process.communicate(timeout=10)}")


def assert_only_the_evaluation_is_left(checkpoints: Path) -> None:
    stopped = open_checkpoint(checkpoints, newest=True)
    assert (stopped.epoch, stopped.step, stopped.is_trained) == (0, STEPS, True)
    assert len(stopped.pass_scores()[0]) == 4 * STEPS
    assert [f.name for f in checkpoints.iterdir()] == [f"epoch-0001-step-{STEPS:06d}"]


def assert_resumed_without_a_step(resumed: Path, whole: Path, log_of: Callable[[Path], list[dict]]) -> None:
    """Neither folder holds anything but the epoch's checkpoint and the best epoch's name."""
    assert not [line for line in log_of(resumed) if len(line["step"]) == 2]
    epoch = next(line["data"] for line in log_of(resumed) if line["step"] == [1] and "test_auc" in line["data"])
    assert not {"throughput", "time"} & epoch.keys()  # no step was left of it
    got, expected = (open_checkpoint(folder / "ck") for folder in (resumed, whole))
    assert got.folder.name == expected.folder.name == "epoch-0001"
    for name in METRICS:
        assert got.metrics[name] == pytest.approx(expected.metrics[name], rel=1e-4), name
    assert got.metrics["rows"] == expected.metrics["rows"]
    assert got.metrics["best"]["epoch"] == 1
    assert sorted(f.name for f in (resumed / "ck").iterdir()) == ["best.json", "epoch-0001"]


@pytest.mark.slow
def test_a_run_stopped_and_killed_in_the_evaluation_ends_with_the_metrics_of_an_uninterrupted_one(
    long_evaluation: Path, tmp_path: Path, start_training, train, log_of
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    save = ("--save_checkpoint_path", parts / "ck")
    uninterrupted = start_training(long_evaluation, whole, *OPTIONS, "--save_checkpoint_path", whole / "ck")

    process = start_training(long_evaluation, parts, *OPTIONS, *save)
    wait_for_evaluation(process, parts / "ck")
    process.terminate()
    signalled = time.monotonic()
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert time.monotonic() - signalled < SECONDS_OF_HOROVODRUN
    assert "SIGTERM: stopped in the evaluation after epoch 1" in errors
    assert_only_the_evaluation_is_left(parts / "ck")

    again = tmp_path / "again"
    process = start_training(
        long_evaluation, again, *OPTIONS, "--load_checkpoint_path", parts / "ck", "--save_checkpoint_path", again / "ck"
    )
    wait_for_evaluation(process, again / "ck")
    process.kill()
    process.wait(TIMEOUT_S)
    assert_only_the_evaluation_is_left(again / "ck")

    # other batches are no error where no row is left to train on
    other = ("--global_batch_size", 64, "--load_checkpoint_path", again / "ck", "--save_checkpoint_path", again / "ck")
    train(long_evaluation, again, *OPTIONS, *other)
    assert uninterrupted.wait(TIMEOUT_S) == 0, uninterrupted.communicate()
    assert_resumed_without_a_step(again, whole, log_of)


@pytest.mark.slow
def test_horovodrun_stopped_in_the_evaluation_ends_before_it_kills_and_one_process_goes_on(
    long_evaluation: Path, tmp_path: Path, start_training, train, log_of
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(long_evaluation, whole, *OPTIONS, "--save_checkpoint_path", whole / "ck")

    launcher = (HOROVODRUN, "-np", 2, "--gloo")
    save = ("--save_checkpoint_path", parts / "ck")
    process = start_training(long_evaluation, parts, *OPTIONS, *save, launcher=launcher)
    wait_for_evaluation(process, parts / "ck")
    process.terminate()
    signalled = time.monotonic()
    output, errors = process.communicate(timeout=TIMEOUT_S)
    assert time.monotonic() - signalled < SECONDS_OF_HOROVODRUN
    assert "SIGTERM: stopped in the evaluation after epoch 1" in output + errors
    assert_only_the_evaluation_is_left(parts / "ck")

    train(long_evaluation, parts, *OPTIONS, "--load_checkpoint_path", parts / "ck", *save)
    assert_resumed_without_a_step(parts, whole, log_of)
