"""Fetches tritonserver and perf_analyzer from the package index into the tool folder: `python -m serving.tools`.

Both are real binaries inside Python wheels. The wheels are downloaded by pip, checked against the hashes in
tools.lock, and unpacked; they are not installed, because their Python dependencies would fight with ours.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from serving.errors import ToolsError
from serving.files import exclusive, replace_folder, write_text_atomically
from serving.tool_folder import TRITON_VERSION, ToolFolder, default_tool_folder

LOCK_FILE = Path(__file__).with_name("tools.lock")

# what is taken out of the wheels: path in the wheel -> path in the tool folder's triton/<version>
PARTS = {
    "nvidia_pytriton": {
        "nvidia_pytriton.libs/": "nvidia_pytriton.libs/",  # tritonserver looks for it at this distance
        "pytriton/tritonserver/": "pytriton/tritonserver/",
        "nvidia_pytriton-0.7.0.dist-info/licenses/": "licenses/pytriton/",
    },
    "tritonclient": {
        "tritonclient-2.51.0.data/data/bin/perf_analyzer": "perf_analyzer/perf_analyzer",
        "tritonclient-2.51.0.data/data/LICENSE.txt": "licenses/tritonclient/LICENSE.txt",
    },
}
# perf_analyzer asks for plain names; the wheel of the server has these libraries under names with a hash
PERF_ANALYZER_LIBRARIES = {"libcudart.so.12": "libcudart-*.so.12*", "libb64.so.0d": "libb64-*.so.0d"}

# The wrappers find their binaries relative to themselves, so the tool folder can be moved.
TRITONSERVER_WRAPPER = f"""#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
exec "$here/../triton/{TRITON_VERSION}/pytriton/tritonserver/bin/tritonserver" "$@"
"""
PERF_ANALYZER_WRAPPER = f"""#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
tools="$here/../triton/{TRITON_VERSION}/perf_analyzer"
LD_LIBRARY_PATH="$tools/lib${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
export LD_LIBRARY_PATH
exec "$tools/perf_analyzer" "$@"
"""


def tools_are_current(tools: ToolFolder) -> bool:
    """True if the folder holds, complete, what tools.lock asks for."""
    stamp = tools.triton / "tools.lock"
    wrappers = {tools.tritonserver: TRITONSERVER_WRAPPER, tools.perf_analyzer: PERF_ANALYZER_WRAPPER}
    return (
        stamp.is_file()
        and stamp.read_bytes() == LOCK_FILE.read_bytes()
        and all(path.is_file() and path.read_text() == text for path, text in wrappers.items())
    )


def fetch_tools(tools: ToolFolder) -> bool:
    """Fetches what is missing. False if there was nothing to do.

    Raises:
        ToolsError: no download, no permission, or a machine that the binaries are not for.
    """
    if tools_are_current(tools):
        return False
    try:
        with exclusive(tools.root / ".fetch.lock"):
            if tools_are_current(tools):  # another process was faster
                return False
            _fetch(tools)
    except OSError as error:
        raise ToolsError(
            f"cannot write the tool folder {tools.root}: {error}. Set RECSERVE_TOOLS to a folder that you may write."
        ) from error
    return True


def _fetch(tools: ToolFolder) -> None:
    with tempfile.TemporaryDirectory(prefix=".staging-", dir=tools.root) as staging:
        wheels = Path(staging) / "wheels"
        _download(wheels)
        unpacked = Path(staging) / "triton"
        for prefix, parts in PARTS.items():
            (wheel,) = wheels.glob(f"{prefix}-*.whl")
            _unpack(wheel, parts, unpacked)
        _link_perf_analyzer_libraries(unpacked)
        (unpacked / "tools.lock").write_bytes(LOCK_FILE.read_bytes())
        replace_folder(unpacked, tools.triton)
    write_text_atomically(tools.tritonserver, TRITONSERVER_WRAPPER, mode=0o755)
    write_text_atomically(tools.perf_analyzer, PERF_ANALYZER_WRAPPER, mode=0o755)


def _download(target: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--require-hashes", "--requirement", str(LOCK_FILE), "--dest", str(target)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise ToolsError(
            "cannot download Triton's binaries (they exist for Linux x86-64 with glibc 2.35 or newer). pip said:\n"
            + result.stderr.strip()
        )


def _unpack(wheel: Path, parts: dict[str, str], target: Path) -> None:
    """Copies the parts of the wheel that are asked for, programs with their executable bit."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            destination = next(
                (
                    goal + member.filename.removeprefix(part)
                    for part, goal in parts.items()
                    if member.filename.startswith(part)
                ),
                None,
            )
            if destination is None or member.is_dir():
                continue
            path = target / destination
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, path.open("wb") as sink:
                while chunk := source.read(1 << 20):
                    sink.write(chunk)
            path.chmod(0o755 if _is_program(path) else 0o644)


def _is_program(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(4) == b"\x7fELF"


def _link_perf_analyzer_libraries(unpacked: Path) -> None:
    folder = unpacked / "perf_analyzer" / "lib"
    folder.mkdir(parents=True)
    for name, pattern in PERF_ANALYZER_LIBRARIES.items():
        (library,) = (unpacked / "nvidia_pytriton.libs").glob(pattern)
        (folder / name).symlink_to(Path("../../nvidia_pytriton.libs") / library.name)


def main() -> int:
    """Entry of `python -m serving.tools`."""
    tools = default_tool_folder()
    try:
        if not tools_are_current(tools):
            print(f"Fetching Triton {TRITON_VERSION} and perf_analyzer (70 MB) into {tools.root}", file=sys.stderr)
        fetched = fetch_tools(tools)
    except ToolsError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(f"{'Fetched' if fetched else 'Up to date'}: {tools.tritonserver}, {tools.perf_analyzer}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
