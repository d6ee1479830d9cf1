"""How to reach the server: for its repository API and for scoring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from client import GrpcTransport


@dataclass(frozen=True)
class Connection:
    """url: host:port of gRPC. ssl: encrypted, checked against root_certificates (a PEM file).

    private_key, certificate_chain: PEM files of this client, where the server asks for them. headers: sent with calls
    of the repository API alone, such as the secret that a restricted protocol wants.
    """

    url: str = "127.0.0.1:8001"
    ssl: bool = False
    root_certificates: str | None = None
    private_key: str | None = None
    certificate_chain: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def transport(self) -> GrpcTransport:
        """For client.Scorer, which closes it."""
        return GrpcTransport(self.url, self.ssl, self.root_certificates)
