"""The command as a user types it, in processes of its own."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from training.checkpoint import open_checkpoint
from training.evaluation import scoring_function
from training.feature_spec import FeatureSpec
from training.input_pipeline import Dataset

ROOT = Path(__file__).parents[2]
AUC_TOLERANCE = 1e-4
SCORE_TOLERANCE = 1e-5


def run_recserve(*arguments: object, timeout_s: float = 600) -> str:
    """Runs `recserve …` and returns its standard output; a failure shows both streams."""
    command = [str(Path(sys.executable).with_name("recserve")), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, cwd=ROOT, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Served:
    """A detached server over a model repository."""

    def __init__(self, repository: Path, state: Path) -> None:
        self.state = state
        run_recserve(
            "serve", "--model_repository", repository, "--detach", "--state_dir", state,
            "--grpc_port", 0, "--http_port", 0, "--metrics_port", 0,
        )  # fmt: skip
        self.endpoints = json.loads((state / "server.json").read_text())
        self.url = self.endpoints["grpc"]

    def stop(self) -> None:
        run_recserve("stop", "--state_dir", self.state)


class WholePath:
    """One run of the whole path over a folder of raw data; each stage once, on demand of the tests."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.raw, self.parquet, self.data = work / "raw", work / "parquet", work / "data"
        self.checkpoints, self.models = work / "checkpoints", work / "models"
        self.seconds: dict[str, float] = {}

    def stage(self, name: str, *arguments: object) -> str:
        start = time.monotonic()
        output = run_recserve(name, *arguments, timeout_s=1500)
        self.seconds[name] = time.monotonic() - start
        return output

    def prepare(self, raw: Path, preprocess: tuple[object, ...], convert: tuple[object, ...] = ()) -> None:
        self.stage("preprocess", "--amazon_dataset_path", raw, "--output_path", self.parquet, *preprocess)
        self.stage(
            "convert", "--amazon_dataset_path", self.parquet, "--tfrecord_output_dir", self.data,
            "--number_of_user_features", 1, *convert,
        )  # fmt: skip

    def train_and_export(self, *train: object) -> None:
        self.stage(
            "train", "--dataset_dir", self.data, "--save_checkpoint_path", self.checkpoints,
            "--results_dir", self.work / "results", "--seed", 1, *train,
        )  # fmt: skip
        self.stage("export", "--checkpoint", self.checkpoints, "--model_repository", self.models)


@pytest.fixture(scope="session")
def whole_path() -> type[WholePath]:
    return WholePath


@pytest.fixture(scope="module")
def small_path(tmp_path_factory: pytest.TempPathFactory) -> WholePath:
    """The whole path on a small generated dataset."""
    path = WholePath(tmp_path_factory.mktemp("path"))
    path.stage("generate", "--output_path", path.raw, "--users", 300, "--items", 300, "--seed", 3)
    path.prepare(path.raw, (), ("--prebatch_train_size", 64, "--prebatch_test_size", 64))
    path.train_and_export("--global_batch_size", 512, "--epochs", 2, "--lr", 0.005)
    return path


@pytest.fixture(scope="module")
def small_server(small_path: WholePath) -> Iterator[Served]:
    server = Served(small_path.models, small_path.work / "state")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def serve() -> type[Served]:
    return Served


def eager_scores(checkpoint_folder: Path, dataset_folder: Path) -> np.ndarray:
    """Probabilities of the test rows, in file order, by the restored model itself."""
    checkpoint = open_checkpoint(checkpoint_folder)
    model = checkpoint.restore_model()
    spec = FeatureSpec.load(dataset_folder / "feature_spec.yaml", check_files=True)
    score = scoring_function(model)
    logits = [
        score({f.name: batch.features[f.name] for f in model.served}).numpy()
        for batch in Dataset(spec, "test", model.served, model.label, 4096).batches()
    ]
    return 1.0 / (1.0 + np.exp(-np.concatenate(logits).astype(np.float64)))


def served_scores(csv_file: Path) -> np.ndarray:
    with csv_file.open() as file:
        return np.array([float(row["probability"]) for row in csv.DictReader(file)])


def compare_server_with_training(checkpoints: Path, data: Path, scores: Path, summary: Path) -> dict[str, float]:
    """Compares what `recserve score` wrote with the checkpoint's own evaluation and eager scores."""
    served = json.loads(summary.read_text())
    trained = open_checkpoint(checkpoints).metrics
    assert served["rows"] == trained["rows"]["test"]
    assert abs(served["auc"] - trained["test_auc"]) <= AUC_TOLERANCE
    difference = np.max(np.abs(served_scores(scores) - eager_scores(checkpoints, data)))
    assert difference <= SCORE_TOLERANCE
    return {"served_auc": served["auc"], "trained_auc": trained["test_auc"], "max_difference": float(difference)}


@pytest.fixture(scope="session")
def recserve() -> Callable[..., str]:
    return run_recserve


@pytest.fixture(scope="session")
def assert_server_equals_training() -> Callable[..., dict[str, float]]:
    return compare_server_with_training
