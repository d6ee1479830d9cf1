"""Where a server listens."""

from __future__ import annotations

from dataclasses import dataclass

from serving.ports import choose_free_port


@dataclass(frozen=True)
class Endpoints:
    """Addresses of one server. host: of gRPC and metrics."""

    host: str
    http_host: str
    grpc_port: int
    http_port: int
    metrics_port: int

    @property
    def listening(self) -> tuple[tuple[str, int], ...]:
        return ((self.host, self.grpc_port), (self.http_host, self.http_port), (self.host, self.metrics_port))

    @property
    def grpc(self) -> str:
        return f"{self.host}:{self.grpc_port}"

    @property
    def http(self) -> str:
        return f"{self.http_host}:{self.http_port}"

    @property
    def metrics(self) -> str:
        return f"http://{self.host}:{self.metrics_port}/metrics"


def choose_endpoints(host: str, http_host: str, grpc_port: int, http_port: int, metrics_port: int) -> Endpoints:
    """Puts a free port in place of each 0."""
    taken = {grpc_port, http_port, metrics_port}
    chosen = []
    for wanted in (grpc_port, http_port, metrics_port):
        port = wanted or choose_free_port(host, taken)
        taken.add(port)
        chosen.append(port)
    return Endpoints(host, http_host, *chosen)
