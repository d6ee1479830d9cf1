"""The command: quick help everywhere, errors without tracebacks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recserve import COMMANDS

ROOT = Path(__file__).parents[1]
RECSERVE = Path(sys.executable).with_name("recserve")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(RECSERVE), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=ROOT, env={**os.environ, **environment}, check=False
    )


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_help_answers_at_once_and_without_tensorflow(command: tuple[str, ...], tmp_path: Path) -> None:
    """A second is the promise; the test allows for a busy machine, and makes loading TensorFlow an error."""
    (tmp_path / "tensorflow.py").write_text("raise AssertionError('TensorFlow was loaded')")
    start = time.monotonic()
    done = run(*command, "--help", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - start < 5
    assert "Usage: recserve" in done.stdout
    assert all(name in done.stdout for name in COMMANDS) or command


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_option_has_a_help_text(command: str) -> None:
    import importlib

    module, attribute, _ = COMMANDS[command]
    for option in getattr(importlib.import_module(module), attribute).params:
        assert getattr(option, "help", None), f"{command}: {option.name}"


def test_user_errors_are_one_message_and_exit_code_one() -> None:
    done = run("train", "--dataset_dir", "/nonexistent")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: dataset_dir: there is no /nonexistent/feature_spec.yaml")
    assert "Traceback" not in done.stderr
    assert "Traceback" in run("train", "--dataset_dir", "/nonexistent", RECSERVE_DEBUG="1").stderr


def test_unknown_commands_and_options_are_refused() -> None:
    assert run("trian").returncode == 2
    assert "No such option" in run("train", "--learning_rate", "1").stderr


def test_python_m_training_is_recserve_train() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "training", "--help"], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    assert "recserve train" in done.stdout
