"""The real locust against a server that describes its model only so many times."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from perf.errors import PointFailed
from perf.locust_run import Locust
from perf.points import LOCUST, Point


class Forgetful(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers two descriptions (the payload's and one user's), refuses the third, and scores nothing."""

    def __init__(self) -> None:
        self.described = 0

    def ModelMetadata(self, request: Any, context: Any) -> Any:
        self.described += 1
        if self.described > 2:
            context.abort(grpc.StatusCode.UNAVAILABLE, "too many of you")
        tensor = service_pb2.ModelMetadataResponse.TensorMetadata
        return service_pb2.ModelMetadataResponse(
            name="sim",
            versions=["1"],
            inputs=[tensor(name="user_id", datatype="INT64", shape=[-1, 1])],
            outputs=[tensor(name="probability", datatype="FP32", shape=[-1, 1])],
        )

    def ModelConfig(self, request: Any, context: Any) -> Any:
        return service_pb2.ModelConfigResponse(config=model_config_pb2.ModelConfig(max_batch_size=8))


@pytest.fixture
def forgetful_server() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Forgetful(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


@pytest.mark.slow
def test_a_user_that_cannot_start_fails_the_point(forgetful_server: str, tiny_model: Any, tmp_path: Path) -> None:
    tiny_model.spec.save(tmp_path / "feature_spec.yaml")
    locust = Locust(forgetful_server, "sim", "1", tmp_path / "feature_spec.yaml", 2.0)
    with pytest.raises(PointFailed, match=r"a user cannot start: .*too many of you"):
        locust.measure(Point(LOCUST, 4, 2))


@pytest.mark.parametrize(("time_s", "expected"), [(0.25, "2s"), (1.5, "3s"), (10.0, "11s")])
def test_locust_runs_until_the_measured_time_is_over(time_s: float, expected: str) -> None:
    command = Locust("h:1", "sim", "1", Path("f.yaml"), time_s).command(Point(LOCUST, 4, 2), Path("r.csv"))
    assert command[command.index("--run-time") + 1] == expected
