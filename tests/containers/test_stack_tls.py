"""The same stack with docker-compose.tls.yml over it: mutual TLS, on the volumes that test_stack.py leaves."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from client import GrpcTransport, RetryPolicy, Scorer, ServerUnavailable, TlsFiles
from tests.conftest import Certificates
from tests.containers.engine import COMPOSE_FILES, Engine
from tests.containers.stack import (
    SECOND_TRAINING_S,
    STARTED_PROFILES,
    add_dataset,
    admin_secret_file,
    decisions,
    grpc_address,
    random_scores,
    report,
    run_once,
    sweep_lines,
    wait_for,
)

pytestmark = [pytest.mark.containers, pytest.mark.slow]
FILES = (*COMPOSE_FILES, "docker-compose.tls.yml")
USER = 10001


@pytest.fixture(scope="module")
def tls_stack(stack: Engine, certificates: Certificates) -> Iterator[Engine]:
    """Stopped, and started anew with TLS. The volumes stay."""
    for key in (certificates.server_key, certificates.client_key):
        os.chown(key, USER, USER)
    stack.variables["RECSERVE_TLS_FOLDER"] = str(certificates.folder)
    secret = admin_secret_file(stack).read_text()
    stack.compose("down", options=STARTED_PROFILES)
    stack.compose("up", "--detach", files=FILES)
    wait_for(stack, "it scores again", lambda: stack.health("triton") == "healthy", 60.0)
    assert admin_secret_file(stack).read_text() == secret, "the secret is made once"
    yield stack


@pytest.fixture
def client_files(certificates: Certificates) -> TlsFiles:
    return TlsFiles(certificates.ca_crt, certificates.client_crt, certificates.client_key)


def test_a_client_with_a_certificate_scores(tls_stack: Engine, client_files: TlsFiles) -> None:
    assert random_scores(tls_stack, client_files).shape == (64,)


@pytest.mark.parametrize("shown", ["plain text", "no certificate", "a certificate of another authority"])
def test_other_clients_are_refused(
    tls_stack: Engine, certificates: Certificates, foreign_certificates: Certificates, shown: str
) -> None:
    files = {
        "plain text": None,
        "no certificate": TlsFiles(certificates.ca_crt),
        "a certificate of another authority": TlsFiles(
            certificates.ca_crt, foreign_certificates.client_crt, foreign_certificates.client_key
        ),
    }[shown]
    transport, once = GrpcTransport(grpc_address(tls_stack), files), RetryPolicy(attempts=1)
    with pytest.raises(ServerUnavailable, match="TLS"), Scorer(transport, retries=once) as scorer:
        _ = scorer.description


def test_plain_http_stays_within_tritons_own_container(tls_stack: Engine) -> None:
    """Metrics, which hold no user data, can still be scraped from the internal network."""
    script = """import urllib.request
for port, path in ((8000, "v2/health/live"), (8002, "metrics")):
    try:
        print(port, urllib.request.urlopen(f"http://triton:{port}/{path}", timeout=5).status)
    except OSError as error:
        print(port, error.reason.strerror)"""
    printed = tls_stack.podman("exec", tls_stack.container("trainer"), "python", "-c", script)
    assert printed.split("\n")[:2] == ["8000 Connection refused", "8002 200"]


def test_each_service_gets_its_own_keys_only(tls_stack: Engine) -> None:
    for service, own in (("triton", "server"), ("trainer", "client")):
        names = tls_stack.podman("exec", tls_stack.container(service), "ls", "/run/secrets").split()
        assert names == sorted(["tls_ca", f"tls_{own}_cert", f"tls_{own}_key"])


def test_the_client_service_scores_over_tls(tls_stack: Engine) -> None:
    run_once(tls_stack, "client", files=FILES)
    assert 0.5 < json.loads(report(tls_stack, "/reports/score.json"))["auc"] < 1


def test_the_perf_service_measures_over_tls(tls_stack: Engine) -> None:
    assert len(sweep_lines(tls_stack, FILES)) == 3  # header, perf_analyzer, locust


def test_locust_scores_over_tls(tls_stack: Engine) -> None:
    tls_stack.compose("up", "--detach", "locust", options=["--profile", "locust"], files=FILES)
    wait_for(tls_stack, "locust is healthy", lambda: tls_stack.health("locust") == "healthy", 60.0)
    port = tls_stack.variables["RECSERVE_LOCUST_PORT"]

    def asked(path: str, form: bytes | None = None) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", form, timeout=10) as answer:
            return json.load(answer)

    def total() -> dict[str, Any]:
        return asked("stats/requests")["stats"][-1]

    asked("swarm", b"user_count=1&spawn_rate=1")
    wait_for(tls_stack, "locust has scored", lambda: total()["num_requests"] > 10, 60.0)
    assert total()["num_failures"] == 0


def test_new_data_becomes_a_second_version(tls_stack: Engine, figures: dict[str, Any]) -> None:
    started = time.monotonic()
    add_dataset(tls_stack, "second", seed=2)
    wait_for(tls_stack, "the side-car decides", lambda: bool(decisions(tls_stack, "second")), SECOND_TRAINING_S)
    figures["second_decision_s"] = round(time.monotonic() - started, 1)
    (decision,) = decisions(tls_stack, "second")
    assert decision["decision"] == "published"
