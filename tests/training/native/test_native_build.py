"""Which compiled libraries are used: only those for the instructions of this processor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from training.native import build

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("target", "flags", "runs"),
    [
        ("x86-64-v3", "flags : fma avx2 bmi2", True),
        ("x86-64-v3", "flags : fma avx bmi2", False),
        ("x86-64-v4", "flags : fma avx2 bmi2", False),
        ("native", "flags : sse2", True),
    ],
)
def test_a_library_for_instructions_that_are_not_there_is_not_used(
    target: str, flags: str, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSERVE_MARCH", target)
    monkeypatch.setattr(build, "_processor_flags", flags.split)
    monkeypatch.setattr(build, "_is_current", lambda library, description: True)  # built for this very target
    assert build.is_current() == runs


def test_the_description_says_what_the_library_needs() -> None:
    """The serving backend reads it before it loads the library."""
    description = json.loads(build.STAMP.read_text())
    assert description["tensorflow"] == tf.__version__
    assert description["target"] == "native"
    assert set(description["instructions"]) == set(build._processor_flags())


@pytest.mark.slow
def test_a_library_for_a_named_target_goes_into_a_folder_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.native.build", "--target", "x86-64-v3", "--folder", str(tmp_path / "v3")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Built: {tmp_path / 'v3' / 'libkernels.so'}\n"
    description = json.loads((tmp_path / "v3" / "libkernels.json").read_text())
    assert description["instructions"] == ["avx2", "bmi2", "fma"]
    again = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert again.stdout.startswith("Up to date")


def test_a_folder_without_tensorflow_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=build.FRAMEWORK):
        build.build(tmp_path / "libkernels.so", tensorflow=tmp_path)
