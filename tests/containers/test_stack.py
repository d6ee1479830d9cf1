"""Builds the images and starts the services with podman, on stand-ins for their bases: `make test-containers`.

The tests follow each other, as a first day with the stack does: from an empty machine to a second version.
"""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from typing import Any

import numpy as np
import pytest
import yaml

from client.admin import admin_header
from deploy.connection import Connection
from deploy.errors import SettingError
from deploy.server_admin import ServerAdmin
from tests.containers.compose_files import load
from tests.containers.engine import Engine
from tests.containers.stack import (
    IMAGES,
    VERSION,
    admin_secret_file,
    grpc_address,
    random_scores,
    report,
    run_once,
    sweep_lines,
    wait_for,
)

pytestmark = [pytest.mark.containers, pytest.mark.slow]
NO_COMPILER = "for name in cc gcc g++ c++ clang cmake make; do ! command -v $name; done"


@pytest.mark.parametrize("files", [(), ("docker-compose.gpu.yml",), ("docker-compose.tls.yml",)])
def test_compose_reads_the_files_as_the_other_tests_do(podman: None, files: tuple[str, ...]) -> None:
    files = ("docker-compose.yml", *files)
    profiles = [word for name in ("client", "perf", "locust", "observability") for word in ("--profile", name)]
    read = yaml.safe_load(Engine().compose("config", options=profiles, files=files))["services"]
    expected = load(*files)["services"]
    assert set(read) == set(expected)
    for name, service in expected.items():
        for key in ("image", "cap_drop", "ports", "profiles", "networks", "healthcheck", "deploy", "secrets"):
            assert read[name].get(key) == service.get(key), (name, key)


def test_the_triton_image_is_the_server_and_one_backend(engine: Engine) -> None:
    script = f"""{NO_COMPILER}
        ! python3 -c 'import tensorflow' 2>/dev/null
        test $(id -u) -eq 10001
        cd /opt/tritonserver/backends; ls
        ls tensorflow/kernels/*/libkernels.so
        ldd tensorflow/libtriton_tensorflow.so"""
    printed = engine.shell(IMAGES["triton"], script)
    assert printed.split()[:2] == ["nvidia", "tensorflow"]
    assert "not found" not in printed
    for target in ("cooperlake", "x86-64-v3", "x86-64-v4"):
        assert f"tensorflow/kernels/{target}/libkernels.so" in printed
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


@pytest.mark.parametrize("content", ["too short", "sixteen characters, but with blanks", "abcdefghijklmnop\nqrst"])
def test_the_entry_point_refuses_a_secret_that_is_none(engine: Engine, content: str) -> None:
    script = f"""printf %s '{content}' >/tmp/secret
        ! RECSERVE_ADMIN_SECRET_FILE=/tmp/secret /opt/recserve/triton_entrypoint.sh 2>&1"""
    assert engine.shell(IMAGES["triton"], script).startswith("/tmp/secret: expected one line of 16 to 256 letters")


def test_up_from_nothing_serves_a_trained_model(stack: Engine, figures: dict[str, Any]) -> None:
    scores = random_scores(stack)
    assert scores.shape == (64,)
    assert np.all((scores > 0) & (scores < 1))
    assert scores.std() > 1e-3, "a trained model tells rows apart"
    assert "with CPU kernels" in stack.logs("triton", 1000)
    figures["score_ok"] = True


def test_administrative_calls_need_the_secret_that_the_stack_made(stack: Engine) -> None:
    with ServerAdmin(Connection(grpc_address(stack))) as admin, pytest.raises(SettingError, match="wants a secret"):
        admin.unload("sim")
    secret = admin_header(admin_secret_file(stack))
    with ServerAdmin(Connection(grpc_address(stack), headers=dict([secret]))) as admin:
        assert admin.ready_versions("sim") == [1]


def test_nothing_shows_the_secret_but_its_volume_and_the_servers_own_process(stack: Engine) -> None:
    _, secret = admin_header(admin_secret_file(stack))
    assert len(secret) == 64
    for service in ("triton", "trainer"):
        assert secret not in json.dumps(stack.inspect(service))
        assert secret not in stack.logs(service)
    assert "-rw------- 1 10001 10001" in stack.podman("exec", stack.container("triton"), "ls", "-ln", "/admin/secret")


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
    assert len(sweep_lines(stack)) == 3  # header, perf_analyzer, locust


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


def test_a_killed_triton_is_started_again_and_serves_the_same_version(stack: Engine, figures: dict[str, Any]) -> None:
    """By its process id on the host: `podman kill` would count as a wish to stop it."""
    found = stack.inspect("triton")
    os.kill(found["State"]["Pid"], signal.SIGKILL)
    started = time.monotonic()
    wait_for(stack, "it runs again", lambda: stack.inspect("triton")["RestartCount"] > found["RestartCount"], 60.0)
    wait_for(stack, "it scores again", lambda: stack.health("triton") == "healthy", 60.0)
    figures["kill_to_score_s"] = round(time.monotonic() - started, 1)
    assert random_scores(stack).shape == (64,)
    with ServerAdmin(Connection(grpc_address(stack), headers=dict([admin_header(admin_secret_file(stack))]))) as admin:
        assert admin.ready_versions("sim") == [1]


def test_stopping_lets_the_server_finish(stack: Engine, figures: dict[str, Any]) -> None:
    started = time.monotonic()
    stack.podman("stop", "--time", "45", stack.container("triton"))
    figures["triton_stop_s"] = round(time.monotonic() - started, 1)
    assert stack.inspect("triton")["State"]["ExitCode"] == 0
    stack.podman("start", stack.container("triton"))
    wait_for(stack, "it serves its repository again", lambda: stack.health("triton") == "healthy", 60.0)
    figures["restart_to_score_s"] = round(time.monotonic() - started - figures["triton_stop_s"], 1)
