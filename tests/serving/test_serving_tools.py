"""Fetching the binaries and compiling the backend: once, whole or not at all, anywhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from serving import backend_build
from serving import tools as tools_module
from serving.backend_build import backend_is_current, build_backend
from serving.embedded import TritonServer
from serving.errors import BackendBuildError, ToolsError
from serving.preflight import prepare_tools
from serving.readiness import ReadyModel
from serving.tool_folder import REPOSITORY_ROOT, ToolFolder, default_tool_folder
from serving.tools import fetch_tools, tools_are_current


@pytest.mark.slow
@pytest.mark.server
def test_everything_works_from_a_moved_folder_with_a_space_in_its_name(
    small_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_build, "BUILD_FOLDER", tmp_path / "build folder" / "backend")
    first = ToolFolder(tmp_path / "my tools")
    assert not tools_are_current(first)
    assert not backend_is_current(first)
    said: list[str] = []
    prepare_tools(first, said.append)
    assert [text.split()[0] for text in said] == ["Fetching", "Compiling"]
    prepare_tools(first, said.append)
    assert len(said) == 2
    assert not fetch_tools(first)
    assert not build_backend(first)

    moved = ToolFolder(tmp_path / "my other tools")
    first.root.rename(moved.root)
    version = subprocess.run([moved.perf_analyzer, "--version"], capture_output=True, text=True, check=True)
    assert "Perf Analyzer Version 2.51.0" in version.stderr
    with TritonServer(small_repository, tools=moved) as server:
        assert server.wait_until_ready() == [ReadyModel("echo", "1")]


@pytest.mark.slow
def test_a_download_of_other_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "tools.lock"
    text = tools_module.LOCK_FILE.read_text()
    digest = text[text.index("sha256:") :].split()[0]
    lock.write_text(text.replace(digest, "sha256:" + "0" * 64))
    monkeypatch.setattr(tools_module, "LOCK_FILE", lock)
    tools = ToolFolder(tmp_path / "tools")
    with pytest.raises(ToolsError, match=r"(?s)cannot download.*(hash|HASH)"):
        fetch_tools(tools)
    assert [path.name for path in tools.root.iterdir()] == [".fetch.lock"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolsError, match=r"cannot write the tool folder .*/file/tools.*RECSERVE_TOOLS"):
        fetch_tools(ToolFolder(tmp_path / "file" / "tools"))


def test_the_tool_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECSERVE_TOOLS", raising=False)
    assert default_tool_folder().root == REPOSITORY_ROOT / ".tools"
    monkeypatch.setenv("RECSERVE_TOOLS", str(tmp_path))
    assert default_tool_folder().root == tmp_path


@pytest.mark.parametrize("module", ["serving.tools", "serving.backend_build"])
def test_the_modules_run_and_say_that_all_is_there(tools: ToolFolder, module: str) -> None:
    result = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("Up to date: ")
    assert result.stderr == ""


@pytest.mark.parametrize("module", ["serving.tools", "serving.backend_build"])
def test_the_modules_end_with_1_and_a_message(tmp_path: Path, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSERVE_TOOLS", "/proc/none")
    result = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "Error: cannot write" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def copied_backend(tools: ToolFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToolFolder:
    """A tool folder with a copy of the built backend, and sources and build folder of the test's own."""
    copy = ToolFolder(tmp_path / "tools")
    shutil.copytree(tools.backends, copy.backends)
    sources = tmp_path / "sources"
    shutil.copytree(backend_build.SOURCES, sources)
    monkeypatch.setattr(backend_build, "SOURCES", sources)
    monkeypatch.setattr(backend_build, "BUILD_FOLDER", tmp_path / "build" / "backend")
    assert backend_is_current(copy)
    return copy


def test_another_tensorflow_or_other_sources_mean_a_new_build(copied_backend: ToolFolder) -> None:
    stamp = copied_backend.backend_library.with_name("build.json")
    built = json.loads(stamp.read_text())
    for key in ("tensorflow", "tensorflow_library", "sources_sha256"):
        stamp.write_text(json.dumps(built | {key: "other"}))
        assert not backend_is_current(copied_backend)
    stamp.write_text(json.dumps(built))
    assert backend_is_current(copied_backend)
    (backend_build.SOURCES / "dtype.h").write_text("")
    assert not backend_is_current(copied_backend)


def test_a_damaged_stamp_means_a_new_build_and_a_stray_file_does_not(copied_backend: ToolFolder) -> None:
    (backend_build.SOURCES / "model.cc~").write_text("an editor's backup")
    (backend_build.SOURCES / "folder").mkdir()
    assert backend_is_current(copied_backend)
    stamp = copied_backend.backend_library.with_name("build.json")
    for damage in (b"{", b"\xff\xfe", b"[]"):
        stamp.write_bytes(damage)
        assert not backend_is_current(copied_backend)


def test_a_tensorflow_without_its_library_is_named(
    copied_backend: ToolFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_build, "tensorflow_folder", lambda: tmp_path)
    with pytest.raises(BackendBuildError, match=r"the installed TensorFlow has no .*libtensorflow_cc\.so\.2"):
        build_backend(copied_backend)


@pytest.mark.slow
def test_a_failed_compilation_shows_the_compiler_and_keeps_the_old_library(copied_backend: ToolFolder) -> None:
    before = copied_backend.backend_library.read_bytes()
    (backend_build.SOURCES / "dtype.cc").write_text("this is no C++\n")
    with pytest.raises(BackendBuildError, match=r"(?s)building the backend failed.*dtype.cc:1:1: error"):
        build_backend(copied_backend)
    assert copied_backend.backend_library.read_bytes() == before
    assert not backend_is_current(copied_backend)


def test_missing_build_tools_are_named(
    copied_backend: ToolFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied_backend.backend_library.unlink()
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(backend_build, "find_cmake", lambda: "cmake")
    with pytest.raises(BackendBuildError, match=r"no C\+\+ compiler was found"):
        build_backend(copied_backend)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(BackendBuildError, match="cmake is missing"):
        backend_build.find_cmake()


def test_missing_tensorflow_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_build.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendBuildError, match="TensorFlow is not installed"):
        backend_build.tensorflow_folder()
