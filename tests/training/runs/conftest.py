"""Runs of `recserve train`, in this process or in one of their own, and what they log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from recserve import cli
from tests.training.options import PATIENT, SMALL
from training.feature_spec import FeatureSpec

ROOT = Path(__file__).parents[3]
Arguments = Sequence[object]


def arguments(dataset: Path, folder: Path, options: Arguments) -> list[str]:
    given = ["--dataset_dir", dataset, "--results_dir", folder / "results", *SMALL, *options]
    return [str(a) for a in (given if "--seed" in options else [*given, "--seed", 1])]


@pytest.fixture(scope="session")
def train() -> Callable[..., Result]:
    """train(dataset, folder, *options): in this process; its errors are raised."""

    def run(dataset: Path, folder: Path, *options: object) -> Result:
        result = CliRunner().invoke(cli, ["train", *arguments(dataset, folder, options)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def start_training() -> Callable[..., subprocess.Popen[str]]:
    """start_training(dataset, folder, *options, code="", launcher=()): a process of its own with one thread.

    code: Python that runs before the command. launcher: what the command line starts with. Ended after the test.
    """
    started: list[subprocess.Popen[str]] = []

    def start(
        dataset: Path, folder: Path, *options: object, code: str = "", launcher: Arguments = ()
    ) -> subprocess.Popen[str]:
        script = f"{code}\nimport sys\nfrom recserve import main\nmain(['train', *sys.argv[1:]])"
        threads = ("--inter_op_parallelism", 1, "--intra_op_parallelism", 1)
        command = [*map(str, launcher), sys.executable, "-c", script, *arguments(dataset, folder, (*options, *threads))]
        environment = {**os.environ, **PATIENT}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def log_of() -> Callable[[Path], list[dict]]:
    """log_of(folder): the LOG lines of the run in it, the first one with the parameters."""

    def read(folder: Path) -> list[dict]:
        lines = (folder / "results" / "log.json").read_text().splitlines()
        return [line for line in (json.loads(text[5:]) for text in lines) if line["type"] == "LOG"]

    return read


@pytest.fixture(scope="session")
def write_validated(write_dataset, columns_of, write_records) -> Callable[..., Path]:
    """write_validated(train_rows=…, …): a dataset with a mapping `validation` of 100 rows."""

    def write(**options: int) -> Path:
        folder = write_dataset(**options)
        history = options.get("history", 100)
        write_records(folder / "validation.tfrecord", columns_of(100, 3, history, options.get("longest", 30)))
        raw = FeatureSpec.load(folder / "feature_spec.yaml").to_dict()
        chunk = raw["source_spec"]["test"][0]
        raw["source_spec"]["validation"] = [{**chunk, "files": ["validation.tfrecord"]}]
        raw["metadata"]["rows"]["validation"] = 100
        FeatureSpec.from_dict(raw, folder).save(folder / "feature_spec.yaml")
        return folder

    return write


@pytest.fixture(scope="session")
def fast_dataset(write_dataset) -> Path:
    """1,600 rows with short histories: many quick steps."""
    return write_dataset(train_rows=1600, test_rows=100, history=20, longest=8)


@pytest.fixture(scope="session")
def validated_dataset(write_validated) -> Path:
    return write_validated(train_rows=300, test_rows=100, history=20, longest=8)
