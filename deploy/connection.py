"""How to reach the server: for its repository API and for scoring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from client import GrpcTransport
from client.tls import TlsFiles


@dataclass(frozen=True)
class Connection:
    """url: host:port of gRPC. tls: None is plain text. headers: of administrative calls, such as their secret."""

    url: str = "127.0.0.1:8001"
    tls: TlsFiles | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def transport(self) -> GrpcTransport:
        """For client.Scorer, which closes it."""
        return GrpcTransport(self.url, self.tls)
