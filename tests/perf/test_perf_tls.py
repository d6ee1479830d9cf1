"""A sweep through mutual TLS, of a server that restricts its statistics."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from perf.cli import sweep
from serving.admin_secret import AdminSecret
from serving.embedded import TritonServer
from serving.tls import ServerTls

SECRET = "0123456789-secret-abc"
SHORT = ["--batch_sizes", "4", "--concurrencies", "2", "--measure_s", "0.5", "--warmup_s", "0.2", "--locust_users", "2"]


@pytest.mark.server
@pytest.mark.slow
def test_both_tools_get_in_with_certificate_and_secret(
    tiny_repository: Path, certificates: Any, tmp_path: Path
) -> None:
    c = certificates
    (tmp_path / "secret").write_text(SECRET)
    tls = ServerTls(c.server_crt, c.server_key, c.ca_crt, c.client_crt, c.client_key)
    with TritonServer(tiny_repository, tls=tls, admin_secret=AdminSecret(SECRET)) as server:
        options = ["--model_repository", str(tiny_repository), "--url", server.endpoints.grpc, *SHORT]
        options += ["--tls", "--tls_ca", str(c.ca_crt), "--tls_cert", str(c.client_crt), "--tls_key", str(c.client_key)]
        options += ["--locust_time_s", "1", "--output_dir", str(tmp_path / "sweep")]
        without = CliRunner().invoke(sweep, options)
        assert without.exit_code == 1
        assert "This protocol is restricted" in without.output
        with_secret = CliRunner().invoke(sweep, [*options, "--admin_secret_file", str(tmp_path / "secret")])
        assert with_secret.exit_code == 0, with_secret.output
    with (tmp_path / "sweep" / "results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["tool"] for row in rows] == ["perf_analyzer", "locust"]
    assert all(float(row["rows_per_s"]) > 0 and row["error"] == "" and row["failures"] == "0" for row in rows)
    assert float(rows[0]["compute_ms"]) > 0  # of the statistics
    assert SECRET not in (tmp_path / "sweep" / "report.html").read_text()
