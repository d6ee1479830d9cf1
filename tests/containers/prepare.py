"""Installs what `make test-containers` needs and says so: `python -m tests.containers.prepare`.

podman, runc, debootstrap and docker-compose (which reads the files here, no more) by apt-get, where that and root are
there; podman-compose into build/containers. What cannot be installed is left to the tests, which then skip and name it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv

from tests.containers.engine import COMPOSE, COMPOSE_VERSION, DOCKER_COMPOSE, PROGRAMS

APT = ["apt-get", "-qq", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=30"]


def main() -> int:
    absent = [name for name in (*PROGRAMS, DOCKER_COMPOSE) if shutil.which(name) is None]
    # docker-compose recommends Docker itself; podman needs what it recommends
    installs = [[name] if name in PROGRAMS else ["--no-install-recommends", name] for name in absent]
    if absent and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"== installing {', '.join(absent)} with apt-get", flush=True)
        quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
        subprocess.run([*APT, "update"], check=False, **quiet)
        for words in installs:
            subprocess.run([*APT, "install", "-y", *words], check=False, **quiet)
    if not COMPOSE.is_file():
        print(f"== installing podman-compose {COMPOSE_VERSION} into {COMPOSE.parent.parent}", flush=True)
        venv.create(COMPOSE.parent.parent, with_pip=True)
        pip = [str(COMPOSE.with_name("python")), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, f"podman-compose=={COMPOSE_VERSION}"], check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
