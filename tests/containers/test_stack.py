"""Builds the images and starts the services with podman, on stand-ins for their bases: `make test-containers`.

The tests follow each other, as a first day with the stack does: from an empty machine to a second version.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import yaml

from client import GrpcTransport, Scorer
from perf.payloads import random_rows
from serving.ports import choose_free_port
from tests.containers.compose_files import load
from tests.containers.engine import FOLDER, Engine, missing
from tests.containers.standins import base, build_standins
from training.feature_spec import FeatureSpec

REASON = missing()
pytestmark = [
    pytest.mark.containers,
    pytest.mark.slow,
    pytest.mark.skipif(REASON is not None, reason=f"containers are not tested: {REASON}"),
]
VERSION = "0.1.0"
IMAGES = {
    service: load("docker-compose.yml")["services"][service]["image"] for service in ("triton", "trainer", "client")
}
BASES = {
    "triton": base("Dockerfile.triton", "TRITON_IMAGE"),
    "trainer": base("Dockerfile.train", "BASE_IMAGE"),
    "client": base("Dockerfile.train", "BASE_IMAGE"),
}
PORTS = ("RECSERVE_GRPC_PORT", "RECSERVE_PROMETHEUS_PORT", "RECSERVE_LOCUST_PORT")
# fewer users than the side-car's own default, at full priority: the tests share two cores with others
SIDECAR = "--bootstrap --bootstrap_users=200 --nice=0 --max_metric_drop=0.5 --poll_s=0.5"
FIRST_TRAINING_S, SECOND_TRAINING_S = 900.0, 600.0
NO_COMPILER = "for name in cc gcc g++ c++ clang cmake make; do ! command -v $name; done"


@pytest.fixture(scope="module")
def figures() -> Iterator[dict[str, Any]]:
    """What was measured on the way; `make test-containers` prints it last."""
    figures: dict[str, Any] = {"engine": "podman", "bases": "stand-ins", "score_ok": False}
    yield figures
    (FOLDER / "figures.json").write_text(json.dumps(figures) + "\n")


@pytest.fixture(scope="module")
def engine(figures: dict[str, Any]) -> Engine:
    """With all images built."""
    taken: set[int] = set()
    variables = {name: str(choose_free_port("127.0.0.1", taken)) for name in PORTS}
    engine = Engine(variables=variables | {"RECSERVE_SIDECAR_ARGS": SIDECAR})
    started = time.monotonic()
    build_standins(engine)
    figures["standins_build_s"] = round(time.monotonic() - started, 1)
    for service, image in IMAGES.items():
        figures[f"{service}_build_s"] = round(engine.compose_build(service), 1)
        figures[f"{service}_image_mb"] = round(engine.size_bytes(image) / 1e6)
        figures[f"{service}_over_base_mb"] = round((engine.size_bytes(image) - engine.size_bytes(BASES[service])) / 1e6)
    return engine


@pytest.fixture(scope="module")
def stack(engine: Engine, figures: dict[str, Any]) -> Iterator[Engine]:
    """Triton and the side-car, started on empty volumes; taken down with their volumes at the end."""
    engine.compose("down", "--volumes", "--remove-orphans")
    try:
        started = time.monotonic()
        engine.compose("up", "--detach")
        wait_for(engine, "Triton answers", lambda: "was answered with 4" in health_words(engine), 60.0)
        figures["triton_live_s"] = round(time.monotonic() - started, 1)
        wait_for(engine, "a first model scores", lambda: engine.health("triton") == "healthy", FIRST_TRAINING_S)
        figures["up_to_first_score_s"] = round(time.monotonic() - started, 1)
        yield engine
    finally:
        engine.compose("down", "--volumes", "--remove-orphans", timeout_s=300)


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


@pytest.mark.parametrize("files", [("docker-compose.yml",), ("docker-compose.yml", "docker-compose.gpu.yml")])
def test_compose_reads_the_files_as_the_other_tests_do(files: tuple[str, ...]) -> None:
    profiles = [word for name in ("client", "perf", "locust", "observability") for word in ("--profile", name)]
    read = yaml.safe_load(Engine().compose("config", options=profiles, files=files))["services"]
    expected = load(*files)["services"]
    assert set(read) == set(expected)
    for name, service in expected.items():
        for key in ("image", "cap_drop", "ports", "profiles", "networks", "healthcheck", "deploy"):
            assert read[name].get(key) == service.get(key), (name, key)


def test_the_triton_image_is_the_server_and_one_backend(engine: Engine) -> None:
    script = f"""{NO_COMPILER}
        ! python3 -c 'import tensorflow' 2>/dev/null
        test $(id -u) -eq 10001
        cd /opt/tritonserver/backends; ls
        ldd tensorflow/libtriton_tensorflow.so"""
    printed = engine.shell(IMAGES["triton"], script)
    assert printed.split()[:2] == ["nvidia", "tensorflow"]
    assert "not found" not in printed
    assert "=> /opt/tritonserver/backends/tensorflow/libtensorflow_cc.so.2" in printed


def test_the_train_image_has_its_kernels_and_horovod(engine: Engine) -> None:
    script = f"""{NO_COMPILER}
        test $(id -u) -eq 10001
        recserve --version
        python -c 'from training.native import kernels_available; assert kernels_available()' 2>/dev/null
        cat > /tmp/sum.py <<END
import horovod.tensorflow as hvd, tensorflow as tf
hvd.init()
print("sum", float(hvd.allreduce(tf.constant(hvd.rank() + 1.0), op=hvd.Sum)))
END
        horovodrun -np 2 --gloo python /tmp/sum.py 2>/dev/null"""
    printed = engine.shell(IMAGES["trainer"], script)
    assert printed.startswith(f"recserve, version {VERSION}")
    assert printed.count("sum 3.0") == 2  # 1 + 2, in both processes


def test_the_client_image_measures_without_tensorflow(engine: Engine) -> None:
    script = f"""{NO_COMPILER}
        test $(id -u) -eq 10001
        ! python -c 'import tensorflow' 2>/dev/null
        recserve score --help >/dev/null
        locust --version
        $RECSERVE_PERF_ANALYZER --version 2>&1"""
    assert "Perf Analyzer Version 2.51.0" in engine.shell(IMAGES["client"], script)


@pytest.mark.parametrize("image", sorted(IMAGES))
def test_images_say_what_they_are(engine: Engine, image: str) -> None:
    labels = json.loads(engine.podman("image", "inspect", IMAGES[image], "--format", "{{json .Labels}}"))
    assert labels["org.opencontainers.image.version"] == VERSION
    assert labels["org.opencontainers.image.title"].startswith("recserve-")
    history = engine.podman("history", "--no-trunc", "--format", "{{.CreatedBy}}", IMAGES[image])
    assert "PIP_CERT" not in history, "the build's certificates stay out of the image"


def test_the_official_target_starts_with_the_same_entry_point(engine: Engine) -> None:
    """On a stand-in without NVIDIA's backend: no model is served, but user, entry point and health check are run."""
    name = f"{engine.project}-official"
    engine.build("-q", "--target", "official-25.02", "-t", name, "-f", "Dockerfile.triton", ".")
    engine.podman("run", "--detach", "--rm", "--name", name, "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", name)
    try:
        script = "python3 /opt/recserve/triton_health.py || true"
        wait_for(engine, "it answers", lambda: "no model" in engine.podman("exec", name, "sh", "-c", script), 60.0)
    finally:
        engine.podman("stop", "--time", "40", name)


def test_up_from_nothing_serves_a_trained_model(stack: Engine, figures: dict[str, Any]) -> None:
    specification = stack.podman("exec", stack.container("triton"), "cat", "/models/sim/1/feature_spec.yaml")
    file = FOLDER / "feature_spec.yaml"
    file.write_text(specification)
    with Scorer(GrpcTransport(f"127.0.0.1:{stack.variables['RECSERVE_GRPC_PORT']}"), model="sim") as scorer:
        rows = random_rows(FeatureSpec.load(file), scorer.description.inputs, 64)
        scores = scorer.score(rows)
    assert scores.shape == (64,)
    assert np.all((scores > 0) & (scores < 1))
    assert scores.std() > 1e-3, "a trained model tells rows apart"
    figures["score_ok"] = True


@pytest.mark.parametrize("service", ["triton", "trainer"])
def test_services_run_locked_up(stack: Engine, service: str) -> None:
    found = stack.inspect(service)
    assert found["HostConfig"]["ReadonlyRootfs"] is True
    assert found["EffectiveCaps"] in (None, [])
    assert "no-new-privileges" in str(found["HostConfig"]["SecurityOpt"])
    assert stack.podman("exec", stack.container(service), "id", "-u").strip() == "10001"
    ports = found["NetworkSettings"]["Ports"] or {}
    published = {port: binding for port, binding in ports.items() if binding}
    assert set(published) == ({"8001/tcp"} if service == "triton" else set())
    assert all(binding["HostIp"] == "127.0.0.1" for bindings in published.values() for binding in bindings)


def test_the_repository_is_read_only_for_triton(stack: Engine) -> None:
    script = "! touch /models/sim/1/planted 2>&1"
    assert "Read-only file system" in stack.podman("exec", stack.container("triton"), "sh", "-c", script)


def test_the_side_car_is_healthy(stack: Engine) -> None:
    wait_for(stack, "the side-car is healthy", lambda: stack.health("trainer") == "healthy", 60.0)


def test_the_client_service_scores_the_test_set(stack: Engine, figures: dict[str, Any]) -> None:
    started = time.monotonic()
    run_once(stack, "client")
    figures["client_run_s"] = round(time.monotonic() - started, 1)
    summary = json.loads(report(stack, "/reports/score.json"))
    assert summary["rows"] > 100
    assert 0.5 < summary["auc"] < 1
    figures["test_auc"] = summary["auc"]


def test_the_perf_service_measures(stack: Engine) -> None:
    options = ["--batch_sizes=16", "--concurrencies=2", "--measure_s=1", "--locust_time_s=2", "--stable_percent=900"]
    service = ["sweep", "--url=triton:8001", "--model_repository=/models", "--output_dir=/reports/sweep"]
    run_once(stack, "perf", *service, *options)
    lines = report(stack, "/reports/sweep/results.csv").splitlines()
    assert len(lines) == 3  # header, perf_analyzer, locust


def test_prometheus_scrapes_both_services(stack: Engine) -> None:
    stack.compose("up", "--detach", "prometheus", options=["--profile", "observability"])
    address = f"http://127.0.0.1:{stack.variables['RECSERVE_PROMETHEUS_PORT']}/api/v1/query?query=up"

    def scraped() -> bool:
        return {"triton": "1", "sidecar": "1"}.items() <= states().items()

    def states() -> dict[str, str]:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                found = json.load(answer)["data"]["result"]
        except OSError:
            return {}
        return {row["metric"]["job"]: row["value"][1] for row in found}

    wait_for(stack, "Prometheus has both", scraped, 120.0)
    assert stack.health("prometheus") == "healthy"


def test_the_page_of_locust(stack: Engine) -> None:
    stack.compose("up", "--detach", "locust", options=["--profile", "locust"])
    wait_for(stack, "locust is healthy", lambda: stack.health("locust") == "healthy", 60.0)
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.variables['RECSERVE_LOCUST_PORT']}/", timeout=5) as page:
        assert b"Locust" in page.read()


def test_new_data_becomes_a_second_version(stack: Engine, figures: dict[str, Any]) -> None:
    trainer = stack.container("trainer")
    prepare = """cd /tmp
        recserve generate --output_path raw --users 150 --seed 2
        recserve preprocess --amazon_dataset_path raw --output_path parquet --seed 2
        recserve convert --amazon_dataset_path parquet --tfrecord_output_dir /data/second --number_of_user_features 1 \
            --prebatch_train_size 256 --prebatch_test_size 256"""
    started = time.monotonic()
    stack.podman("exec", trainer, "sh", "-euc", prepare, timeout_s=300)

    def decided() -> list[dict[str, Any]]:
        script = "cat /state/decisions.json 2>/dev/null || true"
        lines = stack.podman("exec", trainer, "sh", "-c", script).splitlines()
        decisions = [json.loads(line.removeprefix("DLLL "))["data"] for line in lines]
        return [decision for decision in decisions if decision.get("dataset") == "/data/second"]

    wait_for(stack, "the side-car decides", lambda: bool(decided()), SECOND_TRAINING_S)
    figures["second_decision_s"] = round(time.monotonic() - started, 1)


def test_stopping_lets_the_server_finish(stack: Engine, figures: dict[str, Any]) -> None:
    started = time.monotonic()
    stack.podman("stop", "--time", "45", stack.container("triton"))
    figures["triton_stop_s"] = round(time.monotonic() - started, 1)
    assert stack.inspect("triton")["State"]["ExitCode"] == 0
    stack.podman("start", stack.container("triton"))
    wait_for(stack, "it serves its repository again", lambda: stack.health("triton") == "healthy", 60.0)
    figures["restart_to_score_s"] = round(time.monotonic() - started - figures["triton_stop_s"], 1)


def run_once(stack: Engine, service: str, *command: str) -> None:
    """A one-shot service, as `docker compose run --rm` does."""
    options = ["--profile", service]
    stack.compose("run", "--rm", "-T", "--no-deps", service, *command, options=options, timeout_s=300)


def report(stack: Engine, path: str) -> str:
    volume = f"{stack.project}_reports:/reports:ro"
    return stack.podman("run", "--rm", "-v", volume, "--entrypoint", "cat", IMAGES["client"], path)
