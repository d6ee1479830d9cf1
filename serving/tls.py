"""TLS of the gRPC endpoint: files, Triton's arguments, and how the readiness check gets in."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import ServerError


@dataclass(frozen=True)
class ServerTls:
    """PEM files of a server.

    certificate, key: what it shows to clients.
    client_ca: the authorities that may sign clients' certificates; given, every client must show one (mutual TLS).
    check_certificate, check_key: the client certificate of our own readiness check; mutual TLS needs them.
    server_name: a host name that the certificate is for. The readiness check expects it, and this very certificate.
    Raises ServerError unless the files fit each other, so that a bad one does not show as a server that is never ready.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None
    check_certificate: Path | None = None
    check_key: Path | None = None
    server_name: str = "localhost"

    def __post_init__(self) -> None:
        if (self.check_certificate is None) != (self.check_key is None):
            raise ServerError("TLS: the readiness check got a certificate or a key; expected both, or none")
        if self.client_ca and not self.check_certificate:
            raise ServerError(
                "TLS: clients must show a certificate (--tls_ca), so the readiness check needs one too: give it by "
                "--tls_check_cert and --tls_check_key"
            )
        for file in (self.certificate, self.key, self.client_ca, self.check_certificate, self.check_key):
            if file is not None:
                _require_readable(file)
        _shake_hands(self._server_context(), self._client_context(), self.server_name)

    def triton_arguments(self) -> list[str]:
        arguments = [
            "--grpc-use-ssl=true",
            f"--grpc-server-cert={self.certificate.resolve()}",
            f"--grpc-server-key={self.key.resolve()}",
        ]
        if self.client_ca:
            arguments += ["--grpc-use-ssl-mutual=true", f"--grpc-root-cert={self.client_ca.resolve()}"]
        return arguments

    def client_arguments(self) -> dict[str, Any]:
        """For tritonclient's InferenceServerClient."""
        return {
            "ssl": True,
            "root_certificates": self.certificate,
            "private_key": self.check_key,
            "certificate_chain": self.check_certificate,
            "channel_args": [("grpc.ssl_target_name_override", self.server_name)],
        }

    def _server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _load_pair(context, self.certificate, self.key)
        if self.client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            _load_authorities(context, self.client_ca)
        return context

    def _client_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the server's own certificate is enough, as for gRPC
        _load_authorities(context, self.certificate)
        if self.check_certificate and self.check_key:
            _load_pair(context, self.check_certificate, self.check_key)
        return context


def _require_readable(file: Path) -> None:
    try:
        with file.open("rb") as stream:
            stream.read(1)
    except OSError as error:
        raise ServerError(f"TLS: cannot read {file}: {error.strerror}") from error


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    def refuse_password() -> str:
        raise ServerError(f"TLS: the private key {key} is encrypted; expected one without a password, mode 0600")

    try:
        context.load_cert_chain(certificate, key, refuse_password)
    except ssl.SSLError as error:
        raise ServerError(
            f"TLS: got the certificate {certificate} and the key {key}; expected a certificate and its own key, both "
            f"in PEM form ({error.reason or 'no PEM'})"
        ) from error


def _load_authorities(context: ssl.SSLContext, file: Path) -> None:
    try:
        context.load_verify_locations(file)
    except ssl.SSLError as error:
        raise ServerError(f"TLS: {file} holds no certificate in PEM form ({error.reason})") from error


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, server_name: str) -> None:
    """The handshake of the readiness check, in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=server_name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (ours, theirs, ours, theirs):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            who = "server's certificate (--tls_cert, --tls_name)" if side is ours else "client's (--tls_check_cert)"
            raise ServerError(f"TLS: the {who} is refused: {error.verify_message}") from error
        except ssl.SSLError as error:
            raise ServerError(f"TLS: the handshake with these files fails: {error.reason}") from error
