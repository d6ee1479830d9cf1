"""TlsFiles, the options of the commands, and what a user is told when two ends do not agree."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from client import GrpcTransport, InvalidInput, RetryPolicy, Scorer, ServerUnavailable, TlsFiles
from client.admin import admin_header
from client.cli import score
from client.rank_cli import rank

ONCE = RetryPolicy(attempts=1)


@pytest.fixture(scope="module")
def tls_server(tiny_repository: Path, certificates: Any) -> Iterator[str]:
    """Encrypted, without client certificates."""
    from serving.embedded import TritonServer
    from serving.tls import ServerTls

    with TritonServer(tiny_repository, tls=ServerTls(certificates.server_crt, certificates.server_key)) as server:
        yield server.endpoints.grpc


def test_files_that_cannot_be_are_named_before_anything_connects(
    certificates: Any, foreign_certificates: Any, tmp_path: Path
) -> None:
    c, missing = certificates, tmp_path / "missing.pem"
    encrypted = tmp_path / "encrypted.key"
    command = ["openssl", "ec", "-in", c.client_key, "-aes128", "-passout", "pass:word", "-out", encrypted]
    subprocess.run(command, check=True, capture_output=True)
    cases = [
        ((missing,), f"root certificates: cannot read {missing}: No such file"),
        ((tmp_path,), "root certificates: cannot read .* directory"),
        ((c.ca_key,), "ca.key holds no certificate in PEM form"),
        ((c.ca_crt, c.client_crt), "certificate without its private key; expected both"),
        ((c.ca_crt, None, c.client_key), "private key without its certificate; expected both"),
        ((None, missing, c.client_key), f"certificate: cannot read {missing}"),
        ((None, c.client_crt, missing), f"private key: cannot read {missing}"),
        ((None, c.client_crt, foreign_certificates.client_key), "KEY_VALUES_MISMATCH"),
        ((None, c.client_key, c.client_key), "both in PEM form"),
        ((None, c.client_crt, encrypted), "encrypted.key is encrypted; expected a key without a password"),
    ]
    for files, message in cases:
        with pytest.raises(InvalidInput, match=message):
            TlsFiles(*files)
    assert TlsFiles(c.ca_crt, c.client_crt, c.client_key).private_key == c.client_key


@pytest.mark.parametrize("command", [score, rank])
def test_a_file_without_tls_is_refused_rather_than_sent_in_plain_text(command: Any, certificates: Any) -> None:
    arguments = ["--data", "x", "--output_file", "y.csv", "--tls_ca", str(certificates.ca_crt)]
    refused = CliRunner().invoke(command, arguments)
    assert refused.exit_code == 2
    assert "--tls_ca: got a file, but not --tls" in refused.output


@pytest.mark.server
def test_scores_through_tls_as_through_plain_text(tls_server: str, certificates: Any, tiny_model: Any) -> None:
    rows = tiny_model.rows(50, seed=9)
    for url in (tls_server, tls_server.replace("127.0.0.1", "localhost")):
        with Scorer(GrpcTransport(url, TlsFiles(certificates.ca_crt))) as scorer:
            logits = scorer.score(tiny_model.served(rows), "logit")
        assert logits == pytest.approx(tiny_model.logits(rows), abs=1e-5)


@pytest.mark.server
def test_what_does_not_fit_is_said(
    tls_server: str, tiny_server: str, certificates: Any, foreign_certificates: Any
) -> None:
    cases = [
        (tls_server, None, r"Does it ask for TLS \(--tls\)\?"),
        (tls_server, TlsFiles(foreign_certificates.ca_crt), "CERTIFICATE_VERIFY_FAILED.* signed by --tls_ca"),
        (tiny_server, TlsFiles(certificates.ca_crt), "Does the server speak TLS"),
    ]
    for url, tls, message in cases:
        scorer = Scorer(GrpcTransport(url, tls), retries=ONCE)
        with pytest.raises(ServerUnavailable, match=message), scorer:
            _ = scorer.description


@pytest.mark.server
def test_score_and_rank_take_the_files_by_options(
    tls_server: str, certificates: Any, tiny_model: Any, tools: Any, tmp_path: Path
) -> None:
    tools.write_json_lines(tmp_path / "rows.jsonl", tiny_model.rows(20))
    common = ["--data", str(tmp_path / "rows.jsonl"), "--url", tls_server, "--model", "sim"]
    tls = ["--tls", "--tls_ca", str(certificates.ca_crt)]
    scored = CliRunner().invoke(score, [*common, *tls])
    assert scored.exit_code == 0, scored.output
    assert "rows      20" in scored.output
    ranked = CliRunner().invoke(rank, [*common, *tls, "--output_file", str(tmp_path / "best.csv")])
    assert isinstance(ranked.exception, InvalidInput)  # it got through, and found a model that does not rank
    assert "RANK_CANDIDATES" in str(ranked.exception) or "rank" in str(ranked.exception)


def test_the_admin_header_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("0123456789abcdef\n")
    assert admin_header(file) == ("triton-grpc-protocol-admin-key", "0123456789abcdef")
    file.write_text("\n")
    with pytest.raises(InvalidInput, match="is empty"):
        admin_header(file)
    with pytest.raises(InvalidInput, match="cannot read"):
        admin_header(tmp_path / "none")
