"""The compose files by Docker's own docker-compose, which knows every key: `config` reads, merges and checks them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.containers.compose_files import ROOT
from tests.containers.engine import DOCKER_COMPOSE

COMPOSE_FILE, GPU, TLS = "docker-compose.yml", "docker-compose.gpu.yml", "docker-compose.tls.yml"
PROFILES = ("client", "perf", "locust", "observability")
pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(
        shutil.which(DOCKER_COMPOSE) is None,
        reason="docker-compose is not installed: apt-get install --no-install-recommends docker-compose",
    ),
]


def config(folder: Path, *files: str) -> subprocess.CompletedProcess[str]:
    """Of copies without the project's name: Debian's docker-compose 1.29 is older than that key, and has all others.

    files: of the repository's root, or of the folder already.
    """
    for name in files:
        if (ROOT / name).is_file():
            text = (ROOT / name).read_text()
            (folder / name).write_text(re.sub(r"^name: .*\n", "", text, flags=re.MULTILINE))
    named = [word for name in files for word in ("-f", name)]
    profiles = [word for name in PROFILES for word in ("--profile", name)]
    command = [DOCKER_COMPOSE, *named, *profiles, "config", "--quiet"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("others", [(), (GPU,), (TLS,), (GPU, TLS)])
def test_the_files_are_valid(tmp_path: Path, others: tuple[str, ...]) -> None:
    result = config(tmp_path, COMPOSE_FILE, *others)
    assert result.returncode == 0, result.stderr


def test_an_unknown_key_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "wrong.yml").write_text("services: {triton: {read_onyl: true}}\n")
    result = config(tmp_path, COMPOSE_FILE, "wrong.yml")
    assert result.returncode != 0
    assert "read_onyl" in result.stderr
