"""What the tests with podman do with the running services."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from client import GrpcTransport, Scorer, TlsFiles
from perf.payloads import random_rows
from tests.containers.compose_files import load
from tests.containers.engine import COMPOSE_FILES, FOLDER, Engine
from tests.containers.standins import base
from training.feature_spec import FeatureSpec

VERSION = "0.1.0"
IMAGES = {
    service: load("docker-compose.yml")["services"][service]["image"] for service in ("triton", "trainer", "client")
}
BASES = {
    "triton": base("Dockerfile.triton", "TRITON_IMAGE"),
    "trainer": base("Dockerfile.train", "BASE_IMAGE"),
    "client": base("Dockerfile.train", "BASE_IMAGE"),
}
# fewer users than the side-car's own default, at full priority: the tests share two cores with others
SIDECAR = "--bootstrap --bootstrap_users=200 --nice=0 --max_metric_drop=0.5 --poll_s=0.5"
SECOND_TRAINING_S = 600.0
# podman removes no container that one of another profile depends on
STARTED_PROFILES = ("--profile", "observability", "--profile", "locust")


def health_words(engine: Engine) -> str:
    """What the health check of Triton says now, and nothing of whether it is content."""
    script = "python3 /opt/recserve/triton_health.py || true"
    return engine.podman("exec", engine.container("triton"), "sh", "-c", script)


def wait_for(engine: Engine, what: str, condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        logs = {service: engine.logs(service) for service in ("triton", "trainer") if time.monotonic() > deadline}
        assert not logs, f"{what}: not within {timeout_s:.0f} s\n" + "\n".join(f"-- {k}\n{v}" for k, v in logs.items())
        time.sleep(1.0)


def grpc_address(stack: Engine) -> str:
    """The published port."""
    return f"127.0.0.1:{stack.variables['RECSERVE_GRPC_PORT']}"


def random_scores(stack: Engine, tls: TlsFiles | None = None) -> np.ndarray:
    """Scores of 64 random rows of the first version's specification, asked for from outside; shape (64,)."""
    file = FOLDER / "feature_spec.yaml"
    file.write_text(stack.podman("exec", stack.container("triton"), "cat", "/models/sim/1/feature_spec.yaml"))
    with Scorer(GrpcTransport(grpc_address(stack), tls), model="sim") as scorer:
        return scorer.score(random_rows(FeatureSpec.load(file), scorer.description.inputs, 64))


def admin_secret_file(stack: Engine) -> Path:
    """A copy of the stack's secret, for calls from outside."""
    file = FOLDER / "admin_secret"
    file.write_text(stack.podman("exec", stack.container("triton"), "cat", "/admin/secret"))
    return file


def run_once(stack: Engine, service: str, *command: str, files: tuple[str, ...] = COMPOSE_FILES) -> None:
    """A one-shot service, as `docker compose run --rm` does."""
    options = ["--profile", service]
    stack.compose("run", "--rm", "-T", "--no-deps", service, *command, options=options, files=files, timeout_s=300)


def sweep_lines(stack: Engine, files: tuple[str, ...] = COMPOSE_FILES) -> list[str]:
    """The table that the service perf writes, when it measures briefly."""
    options = ["--batch_sizes=16", "--concurrencies=2", "--measure_s=1", "--locust_time_s=2", "--stable_percent=900"]
    run_once(stack, "perf", *load(*files)["services"]["perf"]["command"], *options, files=files)
    return report(stack, "/reports/sweep/results.csv").splitlines()


def report(stack: Engine, path: str) -> str:
    volume = f"{stack.project}_reports:/reports:ro"
    return stack.podman("run", "--rm", "-v", volume, "--entrypoint", "cat", IMAGES["client"], path)


def add_dataset(stack: Engine, name: str, seed: int) -> None:
    """Generates /data/<name> inside the side-car's container; complete when its specification is there."""
    script = f"""cd /tmp
        recserve generate --output_path raw --users 150 --seed {seed}
        recserve preprocess --amazon_dataset_path raw --output_path parquet --seed {seed}
        recserve convert --amazon_dataset_path parquet --tfrecord_output_dir /data/{name} --number_of_user_features 1 \
            --prebatch_train_size 256 --prebatch_test_size 256"""
    stack.podman("exec", stack.container("trainer"), "sh", "-euc", script, timeout_s=300)


def decisions(stack: Engine, dataset: str) -> list[dict[str, Any]]:
    """What the side-car has decided about a dataset."""
    script = "cat /state/decisions.json 2>/dev/null || true"
    lines = stack.podman("exec", stack.container("trainer"), "sh", "-c", script).splitlines()
    found = [json.loads(line.removeprefix("DLLL "))["data"] for line in lines]
    return [decision for decision in found if decision.get("dataset") == f"/data/{dataset}"]
