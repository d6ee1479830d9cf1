"""Compiles the native TensorFlow backend into the tool folder: `python -m serving.backend_build`.

The library is bound to the TensorFlow wheel that it was compiled against. A stamp beside it says which wheel
and sources those were; if either changes, it is built again from nothing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from serving.errors import BackendBuildError
from serving.files import exclusive, replace_folder
from serving.tool_folder import REPOSITORY_ROOT, ToolFolder, default_tool_folder

SOURCES = Path(__file__).with_name("backend")
BUILD_FOLDER = REPOSITORY_ROOT / "build" / "backend"
MAX_JOBS = 4


def backend_is_current(tools: ToolFolder) -> bool:
    """True if the installed library was built from these sources against this TensorFlow.

    Raises:
        BackendBuildError: there is no usable TensorFlow.
    """
    stamp = _stamp(tools)
    if not stamp.is_file() or not tools.backend_library.is_file():
        return False
    try:
        built = json.loads(stamp.read_text())
    except (OSError, ValueError):  # damaged: build again
        return False
    return bool(built == _fingerprint())


def build_backend(tools: ToolFolder) -> bool:
    """Builds and installs the backend if it is missing or out of date. False if there was nothing to do.

    Raises:
        BackendBuildError: no TensorFlow, cmake, compiler or permission, or the compilation failed.
    """
    if backend_is_current(tools):
        return False
    try:
        tools.backends.mkdir(parents=True, exist_ok=True)  # find out before the compilation, not after
        with exclusive(BUILD_FOLDER.with_name("backend.lock")):
            if backend_is_current(tools):  # another process was faster
                return False
            _build(tools)
    except OSError as error:
        raise BackendBuildError(
            f"cannot write the backend's folder {tools.backends} or {BUILD_FOLDER}: {error}"
        ) from error
    return True


def tensorflow_folder() -> Path:
    """The installed package's folder, found without importing it."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.origin is None:
        raise BackendBuildError(
            "TensorFlow is not installed in this environment; the backend is compiled against it. "
            "Install the extra: pip install 'recserve[train]'"
        )
    return Path(spec.origin).parent


def _stamp(tools: ToolFolder) -> Path:
    return tools.backend_library.with_name("build.json")


def _fingerprint() -> dict[str, str]:
    """What the library depends on."""
    tensorflow = tensorflow_folder()
    path = tensorflow / "libtensorflow_cc.so.2"
    try:
        library = path.stat()
    except OSError as error:
        raise BackendBuildError(
            f"the installed TensorFlow has no {path} ({error.strerror}); the backend is linked against it. "
            "Install the extra again: pip install --force-reinstall 'recserve[train]'"
        ) from error
    sources = hashlib.sha256()
    for path in sorted(SOURCES.iterdir()):
        if path.suffix not in (".cc", ".h") and path.name != "CMakeLists.txt":
            continue  # an editor's backup, say
        sources.update(path.name.encode() + b"\0" + path.read_bytes())
    return {
        "tensorflow": str(tensorflow),
        "tensorflow_library": f"{library.st_size} bytes of {library.st_mtime_ns}",
        "sources_sha256": sources.hexdigest(),
    }


def find_cmake() -> str:
    """The environment's own cmake first: it may be newer than the system's."""
    beside = Path(sys.executable).with_name("cmake")
    found = str(beside) if beside.is_file() else shutil.which("cmake")
    if found is None:
        raise BackendBuildError("cmake is missing. Install it: pip install 'cmake<4', or apt-get install cmake")
    return found


def _build(tools: ToolFolder) -> None:
    cmake = find_cmake()
    if not any(shutil.which(name) for name in (os.environ.get("CXX") or "c++", "g++", "clang++")):
        raise BackendBuildError("no C++ compiler was found. Install one: apt-get install g++ make, or set CXX")
    shutil.rmtree(BUILD_FOLDER, ignore_errors=True)  # a cache of another TensorFlow would link against that one
    jobs = str(min(MAX_JOBS, os.cpu_count() or 1))
    _run([cmake, "-S", str(SOURCES), "-B", str(BUILD_FOLDER), f"-DTENSORFLOW_DIR={tensorflow_folder()}"])
    _run([cmake, "--build", str(BUILD_FOLDER), "--parallel", jobs])
    staging = tools.backends / f".tensorflow.{os.getpid()}"
    _run([cmake, "--install", str(BUILD_FOLDER), "--prefix", str(staging)])
    installed = staging / "backends" / "tensorflow"
    (installed / "build.json").write_text(json.dumps(_fingerprint(), indent=2) + "\n")
    replace_folder(installed, tools.backend_library.parent)
    shutil.rmtree(staging)


def _run(command: list[str]) -> None:
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode != 0:
        raise BackendBuildError(f"building the backend failed: {' '.join(command)}\n{result.stdout.strip()}")


def main() -> int:
    """Entry of `python -m serving.backend_build`."""
    tools = default_tool_folder()
    try:
        if not backend_is_current(tools):
            print(f"Compiling the TensorFlow backend into {tools.backends}", file=sys.stderr)
        built = build_backend(tools)
    except BackendBuildError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(f"{'Built' if built else 'Up to date'}: {tools.backend_library}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
