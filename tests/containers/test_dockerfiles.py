"""What must hold of the Dockerfiles without building them. test_stack.py builds them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from serving.admin_secret import KEY, RESTRICTED_PROTOCOLS, AdminSecret
from tests.containers.compose_files import ROOT

CONTAINERS = ROOT / "deploy" / "containers"
FINAL_STAGES = {"Dockerfile.triton": {"triton", "official-25.02"}, "Dockerfile.train": {"train", "client"}}
LABELS = ("title", "description", "licenses", "version", "revision")


def stages(dockerfile: str) -> dict[str, str]:
    """Name -> text of each stage; "" is what stands before the first."""
    text = (ROOT / dockerfile).read_text().replace("\\\n", " ")
    parts = re.split(r"^FROM \S+ AS (\S+)$", text, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def final_stages() -> list[tuple[str, str]]:
    return [(dockerfile, stage) for dockerfile, names in FINAL_STAGES.items() for stage in sorted(names)]


@pytest.mark.parametrize("dockerfile", FINAL_STAGES)
def test_bases_are_pinned_arguments(dockerfile: str) -> None:
    head = stages(dockerfile)[""]
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)$", head, re.MULTILINE))
    bases = re.findall(r"^FROM (\S+)", (ROOT / dockerfile).read_text(), re.MULTILINE)
    for base in bases:
        if base in stages(dockerfile):
            continue
        image = defaults[base.removeprefix("${").removesuffix("}")]
        assert re.fullmatch(r"[\w.-]+/[\w/-]+:\d+\.\d+[\w.-]*", image), image


def test_the_last_stage_is_the_one_that_is_built_by_default() -> None:
    assert list(stages("Dockerfile.triton"))[-1] == "triton"
    assert list(stages("Dockerfile.train"))[-1] == "train"


@pytest.mark.parametrize(("dockerfile", "stage"), final_stages())
def test_final_images_run_as_one_user_who_is_not_root(dockerfile: str, stage: str) -> None:
    text = stages(dockerfile)[stage]
    assert "ARG RECSERVE_UID=10001\n" in text, "the same in all images: they share volumes"
    assert re.findall(r"^USER (\S+)$", text, re.MULTILINE) == ["${RECSERVE_UID}:${RECSERVE_UID}"]
    after = text[text.index("\nUSER ") :]
    assert not re.search(r"^(RUN|COPY|ADD) ", after, re.MULTILINE)


@pytest.mark.parametrize(("dockerfile", "stage"), final_stages())
def test_final_images_have_labels_and_no_compilers(dockerfile: str, stage: str) -> None:
    text = stages(dockerfile)[stage]
    assert [name for name in LABELS if f"org.opencontainers.image.{name}=" not in text] == []
    assert not re.search(r"apt-get|pip |g\+\+|cmake|ADD ", text)


def test_a_layer_with_packages_leaves_no_package_lists() -> None:
    for dockerfile in FINAL_STAGES:
        for run in re.findall(r"^RUN (.*apt-get.*)$", "".join(stages(dockerfile).values()), re.MULTILINE):
            assert "--no-install-recommends" in run
            assert "rm -rf /var/lib/apt/lists/*" in run


def test_the_build_context_is_a_list_of_what_is_needed() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert [name for name in allowed if not (ROOT / name).exists()] == []
    copied = set()
    for dockerfile in FINAL_STAGES:
        for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", "".join(stages(dockerfile).values()), re.MULTILINE):
            copied |= {source.split("/")[0] for source in sources.split()}
    assert copied == allowed


def test_versions_agree_with_the_lock() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    version = re.search(r"^tensorflow==(\S+)$", lock, re.MULTILINE)[1]
    for flavor in ("cpu", "gpu"):
        text = (CONTAINERS / f"tensorflow-{flavor}.lock").read_text()
        pins = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert re.match(rf"tensorflow(-cpu)?=={re.escape(version)} ", pins[0])
        assert all(re.fullmatch(r"[\w-]+==\S+ --hash=sha256:[0-9a-f]{64}", pin) for pin in pins)
    horovod = re.findall(
        r"horovod==([\d.]+)", (ROOT / "Makefile").read_text() + (ROOT / "Dockerfile.train").read_text()
    )
    assert len(horovod) == 2
    assert len(set(horovod)) == 1


def requirements(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(CONTAINERS / "requirements.py"), str(ROOT / "pyproject.toml"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_requirements_of_extras_are_taken_apart() -> None:
    result = requirements("train", "--without", "tensorflow")
    assert result.returncode == 0, result.stderr
    names = {re.split(r"[^\w-]", line)[0] for line in result.stdout.splitlines()}
    assert {"click", "numpy", "pyarrow", "tritonclient", "duckdb", "cloudpickle"} <= names
    assert not {"tensorflow", "recserve", "pytest"} & names
    assert len(names) == len(result.stdout.splitlines())


def test_requirements_of_an_unknown_extra_are_an_error() -> None:
    result = requirements("trian")
    assert result.returncode == 1
    assert "no extra trian" in result.stderr
    assert "train" in result.stderr


@pytest.mark.parametrize("script", sorted(CONTAINERS.glob("*.sh")), ids=lambda path: path.name)
def test_shell_scripts_parse(script: Path) -> None:
    subprocess.run(["sh", "-n", str(script)], check=True)
    assert script.stat().st_mode & 0o111, "not executable"


def make_admin_secret(file: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RECSERVE_ADMIN_SECRET_FILE": str(file)}
    script = str(CONTAINERS / "make_admin_secret.sh")
    return subprocess.run(["sh", script], env=environment, capture_output=True, text=True, check=False)


def test_the_admin_secret_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    assert make_admin_secret(file).returncode == 0
    made = AdminSecret.load(file)
    assert re.fullmatch(r"[0-9a-f]{64}", made.value)
    assert file.stat().st_mode & 0o777 == 0o600
    again = make_admin_secret(file)
    assert again.returncode == 0
    assert AdminSecret.load(file) == made
    assert made.value not in again.stdout + again.stderr
    assert list(tmp_path.iterdir()) == [file]


def test_the_service_of_the_secret_stays_until_it_is_stopped(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    environment = {**os.environ, "RECSERVE_ADMIN_SECRET_FILE": str(file)}
    command = ["sh", str(CONTAINERS / "make_admin_secret.sh"), "--stay"]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{file}: made\n"
        assert process.poll() is None
        process.terminate()
        assert process.wait(5) == 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_folder_without_place_for_the_secret_is_an_error(tmp_path: Path) -> None:
    result = make_admin_secret(tmp_path / "absent" / "secret")
    assert result.returncode != 0
    assert "absent/secret" in result.stderr


def test_the_entry_point_restricts_the_same_calls_as_serve() -> None:
    text = (CONTAINERS / "triton_entrypoint.sh").read_text()
    assert f'"{RESTRICTED_PROTOCOLS}:{KEY}=$secret"' in text
