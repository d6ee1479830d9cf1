"""Shared fixtures: a tiny SIM-like model whose scores follow a formula, and the real Triton that serves it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.amazon_layout import amazon_layout
from training.feature_spec import FeatureSpec

USERS, ITEMS, CATEGORIES = 40, 90, 6
HISTORY = 12
MAX_BATCH_SIZE = 32
SCALARS = {"user_id": USERS, "item_id_trgt": ITEMS, "cat_id_trgt": CATEGORIES}
HISTORIES = {"item_id_pos": ITEMS, "cat_id_pos": CATEGORIES}


def tiny_spec() -> dict:
    """The Amazon layout with small tables and short histories."""
    layout = amazon_layout({"user_id": USERS, "item_id": ITEMS, "cat_id": CATEGORIES}, HISTORY)
    chunk = {"type": "tfrecord", "features": list(layout["feature_spec"]), "files": ["test.tfrecord"]}
    return {**layout, "source_spec": {"test": [chunk]}, "metadata": {}}


@dataclass(frozen=True)
class TinyModel:
    """What the tests know of the served model: its specification, its formula, rows for it."""

    spec: FeatureSpec

    @staticmethod
    def logits(features: Mapping[str, np.ndarray]) -> np.ndarray:
        """[B]: the formula of the served graph, in numpy. Ids outside their table count as 0."""
        known = {
            name: np.where((features[name] > 0) & (features[name] <= size), features[name], 0)
            for name, size in (SCALARS | HISTORIES).items()
        }
        seen = (known["item_id_pos"] > 0) & (known["cat_id_pos"] == known["cat_id_trgt"].reshape(-1, 1))
        ids = (known["user_id"] * 7 + known["item_id_trgt"] * 3).reshape(-1) % 11
        return (ids / 4.0 - 1.5 + seen.sum(axis=1) * 0.25).astype(np.float32)

    @staticmethod
    def rows(count: int, seed: int = 0) -> dict[str, np.ndarray]:
        """Every column of the specification. Labels [B] follow the logits, so that the AUC is well above 0.5."""
        rng = np.random.default_rng(seed)
        columns = {name: rng.integers(1, size + 1, count) for name, size in SCALARS.items()}
        padding = rng.integers(0, HISTORY, count)
        present = np.arange(HISTORY) >= padding[:, None]
        for suffix in ("pos", "neg"):
            columns[f"item_id_{suffix}"] = rng.integers(1, ITEMS + 1, (count, HISTORY)) * present
            columns[f"cat_id_{suffix}"] = rng.integers(1, CATEGORIES + 1, (count, HISTORY)) * present
        noise = rng.normal(0, 0.7, count)
        return {"label": (TinyModel.logits(columns) + noise > 0).astype(np.int64), **columns}

    @staticmethod
    def served(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Only the columns that the server takes."""
        return {name: columns[name] for name in SCALARS | HISTORIES}


@pytest.fixture(scope="session")
def tiny_model() -> TinyModel:
    return TinyModel(FeatureSpec.from_dict(tiny_spec()))


@pytest.fixture(scope="session")
def tiny_repository(tmp_path_factory: pytest.TempPathFactory, tiny_model: TinyModel) -> Path:
    """A model repository as export writes it: sim/config.pbtxt and sim/1/{model.savedmodel,feature_spec.yaml,…}."""
    repository = tmp_path_factory.mktemp("model_repository")
    version = repository / "sim" / "1"
    version.mkdir(parents=True)
    _save_model(version / "model.savedmodel")
    (version.parent / "config.pbtxt").write_text(_config())
    tiny_model.spec.save(version / "feature_spec.yaml")
    manifest = {
        "model": "sim",
        "version": 1,
        "created": "2024-11-21T04:00:00+00:00",
        "metrics": {"test_auc": 0.8765, "test_loss": 0.4321},
        "rows": {"train": 12345, "test": 678},
        "parity": {"rows": 256, "max_abs_difference": 1.2e-7},
        "xla": False,
        "libraries": {"tensorflow": "2.17.1"},
    }
    (version / "manifest.json").write_text(json.dumps(manifest))
    return repository


@pytest.fixture(scope="session")
def tiny_server(tiny_repository: Path) -> Iterator[str]:
    """The gRPC address of a real Triton with the native backend that serves tiny_repository."""
    from serving.embedded import TritonServer

    with TritonServer(tiny_repository) as server:
        yield server.endpoints.grpc


@dataclass(frozen=True)
class Certificates:
    """The files of deploy/tls/make_test_certificates.sh."""

    folder: Path

    def __getattr__(self, name: str) -> Path:
        """ca_crt is ca.crt in the folder, and so on."""
        return self.folder / name.replace("_", ".")


def make_certificates(folder: Path) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed")
    script = Path(__file__).parents[1] / "deploy" / "tls" / "make_test_certificates.sh"
    subprocess.run(["bash", str(script), str(folder)], check=True, capture_output=True)
    return Certificates(folder)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="session")
def foreign_certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of another authority."""
    return make_certificates(tmp_path_factory.mktemp("tls") / "foreign")


def _save_model(folder: Path) -> None:
    import tensorflow as tf

    def known(ids: tf.Tensor, size: int) -> tf.Tensor:
        return tf.where((ids > 0) & (ids <= size), ids, tf.zeros_like(ids))

    class Formula(tf.Module):
        @tf.function
        def score(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            x = {name: known(inputs[name], size) for name, size in (SCALARS | HISTORIES).items()}
            seen = (x["item_id_pos"] > 0) & (x["cat_id_pos"] == x["cat_id_trgt"])
            matches = tf.reduce_sum(tf.cast(seen, tf.float32), axis=1, keepdims=True)
            ids = tf.math.floormod(x["user_id"] * 7 + x["item_id_trgt"] * 3, 11)
            logit = tf.cast(ids, tf.float32) / 4.0 - 1.5 + matches * 0.25
            return {"probability": tf.sigmoid(logit), "logit": logit}

    model = Formula()
    signature = {name: tf.TensorSpec([None, 1], tf.int64, name=name) for name in SCALARS}
    signature |= {name: tf.TensorSpec([None, HISTORY], tf.int64, name=name) for name in HISTORIES}
    tf.saved_model.save(model, str(folder), {"serving_default": model.score.get_concrete_function(**signature)})


def _config() -> str:
    inputs = [f'{{ name: "{name}" data_type: TYPE_INT64 dims: [ 1 ] }}' for name in SCALARS]
    inputs += [f'{{ name: "{name}" data_type: TYPE_INT64 dims: [ {HISTORY} ] }}' for name in HISTORIES]
    outputs = [f'{{ name: "{name}" data_type: TYPE_FP32 dims: [ 1 ] }}' for name in ("probability", "logit")]
    return f"""name: "sim"
platform: "tensorflow_savedmodel"
backend: "tensorflow"
max_batch_size: {MAX_BATCH_SIZE}
input [ {", ".join(inputs)} ]
output [ {", ".join(outputs)} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
dynamic_batching {{ }}
"""
