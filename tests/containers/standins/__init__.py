"""Local images under the names of official ones, where no image registry is reachable.

Each takes the place of the image that a Dockerfile or the compose file names; its own Dockerfile says what differs.
They are test fixtures: nothing of the product is built from them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from serving.tool_folder import default_tool_folder
from tests.containers.compose_files import ROOT, load
from tests.containers.engine import FOLDER, Engine

DEBIAN = "localhost/recserve-standin-debian:bookworm"
RECIPES = Path(__file__).parent


def base(dockerfile: str, argument: str) -> str:
    """The image that a Dockerfile's argument names by default."""
    return re.search(rf"^ARG {argument}=(\S+)$", (ROOT / dockerfile).read_text(), re.MULTILINE)[1]


def build_standins(engine: Engine) -> None:
    if not engine.podman("images", "--quiet", DEBIAN).strip():
        _import_debian(engine)
    _build(engine, "python.Dockerfile", base("Dockerfile.train", "BASE_IMAGE"), RECIPES)
    triton = default_tool_folder().triton
    for argument in ("TRITON_IMAGE", "OFFICIAL_IMAGE"):
        _build(engine, "triton.Dockerfile", base("Dockerfile.triton", argument), triton)
    _build(engine, "prometheus.Dockerfile", load("docker-compose.yml")["services"]["prometheus"]["image"], RECIPES)


def _build(engine: Engine, recipe: str, name: str, context: Path) -> None:
    engine.build("--build-arg", f"DEBIAN={DEBIAN}", "-t", name, "-f", str(RECIPES / recipe), str(context))


def _import_debian(engine: Engine) -> None:
    root = FOLDER / "debian"
    shutil.rmtree(root, ignore_errors=True)
    command = ["debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", str(root)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=600)
    archive = FOLDER / "debian.tar"
    downloads = ["--exclude=./var/cache/apt/archives/*.deb", "--exclude=./var/lib/apt/lists/*"]
    subprocess.run(["tar", "-C", str(root), *downloads, "-cf", str(archive), "."], check=True)
    engine.podman("import", "--quiet", str(archive), DEBIAN)
    archive.unlink()
    shutil.rmtree(root)
