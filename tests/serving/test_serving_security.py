"""ServerTls and AdminSecret: what is refused before a server starts, and that a secured one really gets ready."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from serving.admin_secret import AdminSecret
from serving.cli import serve
from serving.embedded import TritonServer
from serving.errors import ServerError
from serving.readiness import ReadyModel
from serving.tls import ServerTls
from serving.tool_folder import ToolFolder

SECRET = "0123456789-secret-abc"


@pytest.fixture
def mutual(certificates: Any) -> ServerTls:
    c = certificates
    return ServerTls(c.server_crt, c.server_key, c.ca_crt, c.client_crt, c.client_key)


def test_files_that_do_not_fit_are_refused_with_the_reason(
    mutual: ServerTls, certificates: Any, foreign_certificates: Any, tmp_path: Path
) -> None:
    encrypted = tmp_path / "encrypted.key"
    command = ["openssl", "ec", "-in", certificates.server_key, "-aes128", "-passout", "pass:x", "-out", encrypted]
    subprocess.run(command, check=True, capture_output=True)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"certificate": tmp_path / "none"}, "cannot read .*none: No such file"),
        ({"key": foreign_certificates.server_key}, "a certificate and its own key.*KEY_VALUES_MISMATCH"),
        ({"key": encrypted}, "is encrypted; expected one without a password"),
        ({"client_ca": certificates.ca_key}, "holds no certificate in PEM form"),
        ({"server_name": "scoring.example"}, "server's certificate .* not valid for 'scoring.example'"),
        ({"certificate": certificates.client_crt, "key": certificates.client_key}, "unsuitable certificate purpose"),
        ({"client_ca": foreign_certificates.ca_crt}, r"client's \(--tls_check_cert\) is refused"),
        ({"check_certificate": None, "check_key": None}, "the readiness check needs one too"),
        ({"check_key": None}, "expected both, or none"),
    ]
    for change, message in cases:
        with pytest.raises(ServerError, match=message):
            dataclasses.replace(mutual, **change)


def test_secrets_that_cannot_be_sent_are_refused_and_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    for text in (
        "",
        "short",
        "has a space in it, and more",
        "0123456789=abcdefgh",
        "x" * 257,
        "0123456789abcdef\nsecond",
    ):
        file.write_text(text)
        with pytest.raises(ServerError, match=r"--admin_secret_file: .* expected 16 to 256") as refused:
            AdminSecret.load(file)
        assert not text or text not in str(refused.value)
    with pytest.raises(ServerError, match="cannot read"):
        AdminSecret.load(tmp_path / "none")
    file.write_text(SECRET + "\n")
    assert AdminSecret.load(file).grpc_headers() == {"triton-grpc-protocol-admin-key": SECRET}
    assert SECRET not in repr(AdminSecret.load(file))


def test_half_of_the_tls_options_is_refused(small_repository: Path, certificates: Any) -> None:
    for option, file in (("--tls_cert", certificates.server_crt), ("--tls_ca", certificates.ca_crt)):
        refused = CliRunner().invoke(serve, ["--model_repository", str(small_repository), option, str(file)])
        assert refused.exit_code == 2
        assert "TLS needs --tls_cert and --tls_key" in refused.output


@pytest.mark.server
def test_a_secured_server_gets_ready_and_keeps_http_on_loopback(
    tools: ToolFolder, small_repository: Path, mutual: ServerTls
) -> None:
    server = TritonServer(
        small_repository,
        tools=tools,
        host="0.0.0.0",  # noqa: S104
        tls=mutual,
        admin_secret=AdminSecret(SECRET),
    )
    try:
        server.start()
        assert server.wait_until_ready() == [ReadyModel("echo", "1")]
        ends = server.endpoints
        assert ends.http == f"127.0.0.1:{ends.http_port}"
        other_loopback = "127.0.0.2"  # of this host, but not the address that HTTP is to listen on
        assert _answers("127.0.0.1", ends.http_port)
        assert not _answers(other_loopback, ends.http_port)
        assert _answers(other_loopback, ends.grpc_port)
        assert SECRET not in server.log_file.read_text()
    finally:
        server.stop()


def _answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
