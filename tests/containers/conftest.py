"""The images, and the services started from them, for all tests with podman: built and started once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from serving.ports import choose_free_port
from tests.containers.engine import FOLDER, Engine, missing
from tests.containers.stack import BASES, IMAGES, SIDECAR, STARTED_PROFILES, health_words, wait_for
from tests.containers.standins import build_standins

PORTS = ("RECSERVE_GRPC_PORT", "RECSERVE_PROMETHEUS_PORT", "RECSERVE_LOCUST_PORT")
FIRST_TRAINING_S = 900.0


@pytest.fixture(scope="session")
def figures() -> Iterator[dict[str, Any]]:
    """What was measured on the way; `make test-containers` prints it last."""
    figures: dict[str, Any] = {"engine": "podman", "bases": "stand-ins", "score_ok": False}
    yield figures
    (FOLDER / "figures.json").write_text(json.dumps(figures) + "\n")


@pytest.fixture(scope="session")
def podman() -> None:
    """Skips where podman can't run."""
    if (reason := missing()) is not None:
        pytest.skip(f"containers are not tested: {reason}")


@pytest.fixture(scope="session")
def engine(podman: None, figures: dict[str, Any]) -> Engine:
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


@pytest.fixture(scope="session")
def stack(engine: Engine, figures: dict[str, Any]) -> Iterator[Engine]:
    """Triton and the side-car, started on empty volumes; taken down with their volumes at the end."""
    engine.compose("down", "--volumes", "--remove-orphans", options=STARTED_PROFILES)
    try:
        started = time.monotonic()
        engine.compose("up", "--detach")
        wait_for(engine, "Triton answers", lambda: "was answered with 4" in health_words(engine), 60.0)
        figures["triton_live_s"] = round(time.monotonic() - started, 1)
        wait_for(engine, "a first model scores", lambda: engine.health("triton") == "healthy", FIRST_TRAINING_S)
        figures["up_to_first_score_s"] = round(time.monotonic() - started, 1)
        yield engine
    finally:
        engine.compose("down", "--volumes", "--remove-orphans", options=STARTED_PROFILES, timeout_s=300)
