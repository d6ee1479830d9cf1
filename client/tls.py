"""The PEM files of a TLS connection, checked before anything connects: gRPC itself only says that it cannot connect."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from client.errors import InvalidInput


@dataclass(frozen=True)
class TlsFiles:
    """PEM files; without any the server's certificate is checked against gRPC's own list of authorities.

    root_certificates: the authorities that may sign the server's certificate.
    certificate_chain, private_key: who we are, for a server that asks (mutual TLS); both or none.
    Raises InvalidInput for a file that cannot be read or is not what it should be, and a key of another certificate.
    """

    root_certificates: Path | None = None
    certificate_chain: Path | None = None
    private_key: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate_chain is None) != (self.private_key is None):
            given, missing = (
                ("certificate", "private key") if self.certificate_chain else ("private key", "certificate")
            )
            raise InvalidInput(f"TLS: got the client's {given} without its {missing}; expected both, or none")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.root_certificates:
            _check_readable("root certificates", self.root_certificates)
            try:
                context.load_verify_locations(self.root_certificates)
            except ssl.SSLError as error:
                raise InvalidInput(
                    f"TLS root certificates: {self.root_certificates} holds no certificate in PEM form ({error.reason})"
                ) from error
        if self.certificate_chain and self.private_key:
            _check_readable("certificate", self.certificate_chain)
            _check_readable("private key", self.private_key)
            _check_pair(context, self.certificate_chain, self.private_key)


def _check_readable(what: str, file: Path) -> None:
    try:
        with file.open("rb") as stream:
            stream.read(1)
    except OSError as error:
        raise InvalidInput(f"TLS {what}: cannot read {file}: {error.strerror}") from error


def _check_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    def refuse_password() -> str:
        raise InvalidInput(f"TLS private key: {key} is encrypted; expected a key without a password, mode 0600")

    try:
        context.load_cert_chain(certificate, key, refuse_password)
    except ssl.SSLError as error:
        raise InvalidInput(
            f"TLS certificate and private key: got {certificate} and {key}; expected a certificate and its own key, "
            f"both in PEM form ({error.reason or 'no PEM'})"
        ) from error
