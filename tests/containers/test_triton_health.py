"""The health check of the Triton images, against the real server."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from serving.admin_secret import AdminSecret
from serving.embedded import TritonServer

SCRIPT = Path(__file__).parents[2] / "deploy" / "containers" / "triton_health.py"

pytestmark = pytest.mark.server


def check(port: int, models: str = "", **variables: str) -> tuple[int, str]:
    environment = {**os.environ, "RECSERVE_HTTP_PORT": str(port), "RECSERVE_HEALTH_MODELS": models, **variables}
    result = subprocess.run(
        [sys.executable, "-I", str(SCRIPT)], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert not result.stderr, result.stderr  # a traceback is no answer
    return result.returncode, result.stdout.strip()


def port_of(server: TritonServer) -> int:
    return int(server.endpoints.http.rsplit(":", 1)[1])


@pytest.fixture(scope="module")
def server(tiny_repository: Path) -> Iterator[TritonServer]:
    with TritonServer(tiny_repository, model_control_mode="explicit", load_models=["*"]) as server:
        yield server


@pytest.fixture(scope="module")
def odd_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that load, say that they are ready, and cannot score zeros; and one of other data types."""
    import tensorflow as tf

    repository = tmp_path_factory.mktemp("odd_repository")

    def save(name: str, function: object, **inputs: tf.TensorSpec) -> None:
        module = tf.Module()
        module.score = tf.function(function)
        signature = module.score.get_concrete_function(**inputs)
        tf.saved_model.save(module, str(repository / name / "1" / "model.savedmodel"), {"serving_default": signature})
        (repository / name / "config.pbtxt").write_text(
            'platform: "tensorflow_savedmodel"\nbackend: "tensorflow"\ninstance_group [ { count: 1 kind: KIND_CPU } ]\n'
        )

    x = tf.TensorSpec([None, 1], tf.float32, name="x")
    save("not_a_number", lambda x: {"y": x / x}, x=x)
    save("nothing", lambda x: {"y": tf.repeat(x, tf.cast(x[0, 0], tf.int32), axis=1)}, x=x)

    def refuse(x: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.debugging.assert_positive(x, message="zeros are refused")]):
            return {"y": tf.identity(x)}

    save("refusing", refuse, x=x)
    types = {"text": tf.string, "flag": tf.bool, "small": tf.int8, "half": tf.float16, "wide": tf.float64}
    specs = {name: tf.TensorSpec([None, 2], dtype, name=name) for name, dtype in types.items()}
    save("types", lambda **tensors: {f"{name}_out": tensor for name, tensor in tensors.items()}, **specs)
    return repository


@pytest.fixture(scope="module")
def odd_server(odd_repository: Path) -> Iterator[TritonServer]:
    """Ready in Triton's own words. Not as a context manager: that waits until every model has scored."""
    server = TritonServer(odd_repository)
    server.start()
    try:
        with triton.InferenceServerClient(server.endpoints.grpc) as client:
            wait_until(lambda: client.is_server_ready(client_timeout=5.0))
        yield server
    finally:
        server.stop()


def wait_until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(InferenceServerException):
            if ready():
                return
        time.sleep(0.1)
    raise AssertionError("the server is not ready")


def test_healthy_when_each_loaded_model_has_scored(server: TritonServer) -> None:
    assert check(port_of(server)) == (0, "healthy: sim scored")
    assert check(port_of(server), models="sim") == (0, "healthy: sim scored")


def test_a_model_that_is_named_but_not_there_is_unhealthy(server: TritonServer) -> None:
    code, line = check(port_of(server), models="sim sim_rank")
    assert code == 1
    assert line.startswith("unhealthy: /v2/models/sim_rank was answered with 4")


def test_a_server_without_models_is_unhealthy_until_one_is_published(tmp_path: Path) -> None:
    with TritonServer(tmp_path, model_control_mode="explicit", load_models=["*"]) as empty:
        assert check(port_of(empty)) == (1, "unhealthy: no model is loaded yet")


def test_the_loaded_models_of_a_server_with_a_secret(tiny_repository: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0123456789-secret-abc\n")
    with TritonServer(tiny_repository, admin_secret=AdminSecret.load(secret)) as restricted:
        port = port_of(restricted)
        code, line = check(port)
        assert (code, line.startswith("unhealthy: /v2/repository/index was answered with 4")) == (1, True), line
        assert check(port, RECSERVE_ADMIN_SECRET_FILE=str(secret)) == (0, "healthy: sim scored")
        assert check(port, models="sim") == (0, "healthy: sim scored")
    code, line = check(9, RECSERVE_ADMIN_SECRET_FILE=str(tmp_path / "absent"))
    assert (code, "cannot read" in line) == (1, True), line


def test_no_server_is_unhealthy() -> None:
    code, line = check(9)
    assert code == 1
    assert line.startswith("unhealthy: port 9 does not answer")


@pytest.mark.parametrize(
    ("model", "code", "reason"),
    [
        ("types", 0, "healthy: types scored"),
        ("not_a_number", 1, "not finite"),
        ("nothing", 1, "without values"),
        ("refusing", 1, "zeros are refused"),
    ],
)
def test_ready_is_not_enough(odd_server: TritonServer, model: str, code: int, reason: str) -> None:
    found, line = check(port_of(odd_server), models=model)
    assert (found, reason in line) == (code, True), line
