"""SIGTERM and Ctrl-C: a checkpoint of the step, and a resumed run that ends where an uninterrupted one does."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from training.checkpoint import open_checkpoint
from training.errors import CheckpointError

HOROVODRUN = Path(sys.executable).with_name("horovodrun")
OPTIONS = ("--long_seq_length", 12, "--k", 5, "--global_batch_size", 8, "--epochs", 2, "--dropout_rate", 0.3)
ANY_MODEL = ("--model_type", "din", "--global_batch_size", 4, "--epochs", 2)  # for what does not depend on the model
TIMEOUT_S = 300


def wait_for_step(process: subprocess.Popen[str], folder: Path, epoch: int) -> None:
    """Until the log has a step of this epoch."""
    log = folder / "results" / "log.json"
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end and process.poll() is None:
        if log.is_file() and f'"step": [{epoch}, ' in log.read_text():
            return
        time.sleep(0.02)
    pytest.fail(f"no step of epoch {epoch}: {process.communicate(timeout=10)}")


def interrupted(start, dataset: Path, folder: Path, number: int, epoch: int, *options: object) -> str:
    process = start(dataset, folder, *options, "--save_checkpoint_path", folder / "ck")
    wait_for_step(process, folder, epoch)
    process.send_signal(number)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 128 + number, errors
    return errors


@pytest.mark.slow
def test_a_run_interrupted_within_an_epoch_ends_with_the_weights_of_an_uninterrupted_one(
    fast_dataset: Path, tmp_path: Path, start_training, log_of
) -> None:
    """Exactly, with one thread: batches, dropout masks, optimizer state, the interrupted epoch's train metrics too."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    process = start_training(fast_dataset, whole, *OPTIONS, "--save_checkpoint_path", whole / "ck", "--seed", 11)
    assert process.wait(TIMEOUT_S) == 0, process.communicate()
    errors = interrupted(start_training, fast_dataset, parts, signal.SIGTERM, 2, *OPTIONS, "--seed", 11)
    assert "SIGTERM: stopped in epoch 2 after step" in errors
    assert "--load_checkpoint_path" in errors
    stopped = open_checkpoint(parts / "ck", newest=True)
    assert stopped.epoch == 1
    assert 0 < stopped.step < 200
    assert open_checkpoint(parts / "ck").folder.name == "epoch-0001"
    resume = ("--load_checkpoint_path", parts / "ck", "--save_checkpoint_path", parts / "ck", "--seed", -1)
    process = start_training(fast_dataset, parts, *OPTIONS, *resume)
    assert process.wait(TIMEOUT_S) == 0, process.communicate()
    assert [line["step"][1] for line in log_of(parts) if len(line["step"]) == 2] == [*range(stopped.step + 1, 201)]
    expected, got = open_checkpoint(whole / "ck"), open_checkpoint(parts / "ck")
    for a, b in zip(expected.restore_model().variables, got.restore_model().variables, strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("train_auc", "train_loss", "test_auc", "test_loss", "rows"):
        assert got.metrics[name] == expected.metrics[name]
    assert sorted(f.name for f in (parts / "ck").iterdir()) == ["epoch-0001", "epoch-0002"]


@pytest.mark.slow
def test_two_processes_that_resume_after_an_epoch_end_with_the_weights_of_two_that_go_on(
    fast_dataset: Path, tmp_path: Path, start_training
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    two = {"launcher": (HOROVODRUN, "-np", 2, "--gloo")}
    batch = ("--global_batch_size", 200, "--micro_batch_size", 60)
    process = start_training(fast_dataset, whole, *OPTIONS, *batch, "--save_checkpoint_path", whole / "ck", **two)
    assert process.wait(TIMEOUT_S) == 0, process.communicate()
    shutil.copytree(whole / "ck" / "epoch-0001", parts / "ck" / "epoch-0001")
    resume = ("--load_checkpoint_path", parts / "ck", "--save_checkpoint_path", parts / "ck")
    process = start_training(fast_dataset, parts, *OPTIONS, *batch, *resume, **two)
    assert process.wait(TIMEOUT_S) == 0, process.communicate()
    expected, got = (open_checkpoint(folder / "ck").restore_model() for folder in (whole, parts))
    for a, b in zip(expected.variables, got.variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_ctrl_c_in_the_first_epoch_leaves_a_checkpoint_that_only_the_same_run_goes_on_from(
    fast_dataset: Path, write_dataset, tmp_path: Path, start_training, train
) -> None:
    errors = interrupted(start_training, fast_dataset, tmp_path, signal.SIGINT, 1, *ANY_MODEL)
    assert "SIGINT: stopped in epoch 1 after step" in errors
    checkpoints = tmp_path / "ck"
    with pytest.raises(CheckpointError, match="holds an interrupted epoch only"):
        open_checkpoint(checkpoints)
    load = ("--load_checkpoint_path", checkpoints, *ANY_MODEL)
    changed = ("--global_batch_size", 16, "--seed", 2)
    with pytest.raises(
        CheckpointError, match=r"(?s)global_batch_size: checkpoint has 4, this run 16.*seed: .*1, this run 2"
    ):
        train(fast_dataset, tmp_path, *load, *changed)
    other = write_dataset(train_rows=1598, test_rows=100, history=20, longest=8)
    with pytest.raises(CheckpointError, match=r"rows: checkpoint has .*1600.*, this run .*1598"):
        train(other, tmp_path, *load)
    regrouped = tmp_path / "regrouped"
    shutil.copytree(fast_dataset, regrouped)
    specification = yaml.safe_load((regrouped / "feature_spec.yaml").read_text())
    specification["metadata"]["rows_per_group"] = 7
    (regrouped / "feature_spec.yaml").write_text(yaml.safe_dump(specification))
    with pytest.raises(CheckpointError, match=r"rows_per_group: checkpoint has .*, this run 7"):
        train(regrouped, tmp_path, *load)
    whole = tmp_path / "whole"
    shutil.copytree(open_checkpoint(checkpoints, newest=True).folder, whole / "epoch-0001-step-000001")
    (whole / "epoch-0001-step-000001" / "pass_scores.npz").write_bytes(b"no zip")
    with pytest.raises(CheckpointError, match=r"pass_scores\.npz: damaged"):
        train(fast_dataset, tmp_path, "--load_checkpoint_path", whole, *ANY_MODEL)


@pytest.mark.slow
def test_without_a_folder_for_checkpoints_the_message_says_so(
    fast_dataset: Path, tmp_path: Path, start_training
) -> None:
    process = start_training(fast_dataset, tmp_path, *ANY_MODEL)
    wait_for_step(process, tmp_path, 1)
    process.terminate()
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 143
    assert "No checkpoint was written: there is no --save_checkpoint_path" in errors


@pytest.mark.slow
def test_two_processes_write_the_scores_in_the_order_of_the_file(
    write_dataset, columns_of, tmp_path: Path, start_training
) -> None:
    dataset = write_dataset(train_rows=64, test_rows=101, history=20, longest=8)
    options = (*ANY_MODEL, "--global_batch_size", 33, "--epochs", 1)
    process = start_training(dataset, tmp_path, *options, launcher=(HOROVODRUN, "-np", 2, "--gloo"))
    output = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, output
    with np.load(tmp_path / "results" / "test_scores.npz", allow_pickle=False) as scores:
        written = {name: scores[name] for name in ("label", "user")}
    columns = columns_of(101, 2, 20, 8)
    np.testing.assert_array_equal(written["label"], columns["label"])
    np.testing.assert_array_equal(written["user"], columns["user_id"])


@pytest.mark.slow
@pytest.mark.parametrize("rows", [4, 800], ids=["between-steps", "within-a-step"])
def test_a_signal_to_one_of_two_processes_ends_both_with_one_checkpoint(
    fast_dataset: Path, tmp_path: Path, start_training, rows: int
) -> None:
    """800 rows in micro-batches of 2 are a step of some seconds, given up about a second after the signal."""
    batch = ("--model_type", "din", "--epochs", 2, "--global_batch_size", rows, "--micro_batch_size", 2)
    pids = tmp_path / "pids"
    pids.mkdir()
    code = f"import os; open('{pids}/' + os.environ['HOROVOD_RANK'], 'w').write(str(os.getpid()))"
    launcher = (HOROVODRUN, "-np", 2, "--gloo")
    process = start_training(
        fast_dataset, tmp_path, *batch, "--save_checkpoint_path", tmp_path / "ck", code=code, launcher=launcher
    )
    wait_for_step(process, tmp_path, 1)
    os.kill(int((pids / "1").read_text()), signal.SIGTERM)
    output, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode != 0
    assert re.search(f"SIGTERM: stopped in epoch 1 after step {1 if rows == 800 else '[0-9]+'}[.]", output + errors)
    stopped = open_checkpoint(tmp_path / "ck", newest=True)
    labels, logits = stopped.pass_scores()
    assert len(labels) == len(logits) == rows * stopped.step
