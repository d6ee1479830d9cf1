"""podman and podman-compose for the tests, with a storage of their own: a stand-in never meets a machine's real images.

Everything lies in build/containers, but for sockets and locks, whose paths must be short.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.containers.compose_files import ROOT

FOLDER = ROOT / "build" / "containers"
COMPOSE = FOLDER / "podman-compose" / "bin" / "podman-compose"
COMPOSE_VERSION = "1.6.0"
DOCKER_COMPOSE = "docker-compose"
PROGRAMS = ("podman", "runc", "debootstrap")
RUN_FOLDER = Path("/tmp") / f"recserve-podman-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}"
COMPOSE_FILES = ("docker-compose.yml", "tests/containers/standins/docker-compose.standins.yml")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

# runc: crun refuses some kernels' layout of control groups. Limits: a sandbox may not raise them.
CONTAINERS_CONF = f"""[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
lock_type = "file"
tmp_dir = "{RUN_FOLDER}/engine"
[network]
network_config_dir = "{FOLDER}/networks"
"""
STORAGE_CONF = f"""[storage]
driver = "overlay"
graphroot = "{FOLDER}/storage"
runroot = "{RUN_FOLDER}/storage"
"""


def missing() -> str | None:
    """Why images can't be built and run here; None if they can."""
    if os.environ.get("CI_CONTAINERS") != "1":
        return "images are built on request only: `make test-containers` (it sets CI_CONTAINERS=1)"
    if os.geteuid() != 0:
        return "building and starting images needs root here"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed: apt-get install {' '.join(absent)}"
    if not COMPOSE.is_file():
        return f"podman-compose is not in {COMPOSE.parent}: `make test-containers` puts it there"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        return "root may not mount here, as in a container without privileges, and podman has to"
    usable = subprocess.run(["podman", "info"], env=environment(), capture_output=True, text=True, check=False)
    return None if usable.returncode == 0 else f"podman does not work here: {usable.stderr.strip()[-500:]}"


def environment() -> dict[str, str]:
    """The environment of podman: ours, with its own settings and storage. Written when it is asked for."""
    for folder in (FOLDER / "networks", RUN_FOLDER):
        folder.mkdir(parents=True, exist_ok=True)
    files = {"CONTAINERS_CONF": CONTAINERS_CONF, "CONTAINERS_STORAGE_CONF": STORAGE_CONF}
    for name, text in files.items():
        (FOLDER / name.lower()).write_text(text)
    return {**os.environ, **{name: str(FOLDER / name.lower()) for name in files}}


@dataclass
class Engine:
    """Runs podman and podman-compose. Fails with what they said.

    variables: for the compose file. project: name before those of containers, volumes and networks.
    """

    project: str = "recserve-test"
    variables: dict[str, str] = field(default_factory=dict)

    def podman(self, *arguments: str, timeout_s: float = 120.0) -> str:
        return self._run(["podman", *arguments], timeout_s)

    def compose(
        self,
        *arguments: str,
        options: Sequence[str] = (),
        files: Sequence[str] = COMPOSE_FILES,
        timeout_s: float = 120.0,
    ) -> str:
        named = [word for name in files for word in ("-f", str(ROOT / name))]
        command = [str(COMPOSE), "--in-pod", "false", "-p", self.project, *named, *options]
        return self._run([*command, *arguments], timeout_s)

    def build(self, *arguments: str) -> None:
        """One image, with `podman build`'s arguments."""
        self.podman("build", *build_options(), *arguments, timeout_s=1800)

    def compose_build(self, service: str) -> float:
        """The image of a service, from the compose file's words; seconds that it took."""
        started = time.monotonic()
        options = ["--podman-build-args", " ".join(build_options()), "--profile", service]
        self.compose("build", service, options=options, timeout_s=1800)
        return time.monotonic() - started

    def shell(self, image: str, script: str) -> str:
        """What a shell in a container of the image prints; locked up as the services are."""
        locks = ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"]
        return self.podman("run", "--rm", *locks, "--entrypoint", "sh", image, "-euc", script)

    def size_bytes(self, image: str) -> int:
        return int(self.podman("image", "inspect", image, "--format", "{{.Size}}"))

    def container(self, service: str) -> str:
        return f"{self.project}_{service}_1"

    def inspect(self, service: str) -> dict:
        (found,) = json.loads(self.podman("inspect", self.container(service)))
        return found

    def health(self, service: str) -> str:
        """Runs the container's own health check now, as a timer of the system would, and returns its state."""
        command = ["podman", "healthcheck", "run", self.container(service)]
        subprocess.run(command, env=self._environment(), capture_output=True, check=False, timeout=120)
        return str(self.inspect(service)["State"]["Health"]["Status"])

    def logs(self, service: str, lines: int = 40) -> str:
        command = ["podman", "logs", "--tail", str(lines), self.container(service)]
        result = subprocess.run(
            command, env=self._environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        return result.stdout

    def _environment(self) -> dict[str, str]:
        return {**environment(), **self.variables}

    def _run(self, command: list[str], timeout_s: float) -> str:
        result = subprocess.run(
            command, env=self._environment(), cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout_s
        )
        if result.returncode != 0:
            said = "\n".join((result.stdout + result.stderr).splitlines()[-40:])
            raise AssertionError(f"{' '.join(command)} ended with code {result.returncode}:\n{said}")
        return result.stdout


def build_options() -> list[str]:
    """For a machine that reaches packages through its own certificates, and keeps what pip has built."""
    options = ["--network=host", "--format=docker"]
    if CERTIFICATES.is_file():
        options += [f"-v={CERTIFICATES.parent}:{CERTIFICATES.parent}:ro", f"--env=PIP_CERT={CERTIFICATES}"]
    cache = Path.home() / ".cache" / "pip"
    cache.mkdir(parents=True, exist_ok=True)
    return [*options, f"-v={cache}:/root/.cache/pip"]
