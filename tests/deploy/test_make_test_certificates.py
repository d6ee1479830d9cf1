"""deploy/tls/make_test_certificates.sh"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed")
SCRIPT = Path(__file__).parents[2] / "deploy" / "tls" / "make_test_certificates.sh"
NAMES = ("ca", "server", "client")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


def openssl(*arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True).stdout


def test_keys_are_for_their_owner_alone_and_nothing_else_is_left(certificates: Any) -> None:
    files = {file.name: file.stat().st_mode & 0o777 for file in certificates.folder.iterdir()}
    assert files == {f"{n}.key": 0o600 for n in NAMES} | {f"{n}.crt": 0o644 for n in NAMES}
    assert [p.name for p in certificates.folder.parent.iterdir()] == ["ours"]


def test_each_certificate_is_signed_for_its_own_purpose(certificates: Any) -> None:
    for name, purpose in (("server", "sslserver"), ("client", "sslclient")):
        check = ["verify", "-CAfile", str(certificates.ca_crt), "-purpose", purpose]
        assert openssl(*check, str(certificates.folder / f"{name}.crt")).strip().endswith("OK")
    as_server = ["openssl", "verify", "-CAfile", certificates.ca_crt, "-purpose", "sslserver", certificates.client_crt]
    assert subprocess.run(as_server, capture_output=True, check=False).returncode != 0


def test_the_server_is_known_by_the_usual_names_and_by_those_asked_for(tmp_path: Path) -> None:
    assert make(str(tmp_path / "new" / "tls"), "scoring.example", "192.0.2.7").returncode == 0
    text = openssl("x509", "-in", str(tmp_path / "new" / "tls" / "server.crt"), "-noout", "-ext", "subjectAltName")
    for name in ("DNS:localhost", "DNS:triton", "IP Address:127.0.0.1", "IP Address:0:0:0:0:0:0:0:1",
                 "DNS:scoring.example", "IP Address:192.0.2.7"):  # fmt: skip
        assert name in text


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "ca.key").write_text("precious")
    refused = make(str(tmp_path))
    assert refused.returncode == 1
    assert f"{tmp_path} exists; nothing is overwritten" in refused.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["ca.key"]
    assert (tmp_path / "ca.key").read_text() == "precious"


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    assert make(str(tmp_path / "tls"), "no spaces, please").returncode != 0
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_it_says_how_it_is_used() -> None:
    for arguments in ((), ("--help",)):
        told = make(*arguments)
        assert told.returncode == 2
        assert "usage: make_test_certificates.sh FOLDER" in told.stderr
