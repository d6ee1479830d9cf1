"""Compiles the kernels: `python -m training.native.build`. Does nothing if they are up to date.

Writes libkernels.so and, beside it, libkernels.json: for which TensorFlow, processor and sources it was compiled.
Training reads it, and so does the serving backend (serving/backend/cpu_kernels.cc). Standard library only: it runs
where an image is built, without TensorFlow's Python.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).with_name("kernels")
LIBRARY = Path(__file__).with_name("libkernels.so")
STAMP = LIBRARY.with_suffix(".json")
# what the named targets ask of a processor, as /proc/cpuinfo calls it
AVX2 = frozenset(("avx2", "fma", "bmi2"))
AVX512 = AVX2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
BFLOAT16 = AVX512 | {"avx512_vnni", "avx512_bf16"}
INSTRUCTIONS = {"x86-64-v3": AVX2, "x86-64-v4": AVX512, "cooperlake": BFLOAT16}
NATIVE = "native"  # the kernels live on wide registers; RECSERVE_MARCH names another target, for images that travel
FLAGS = ("-O3", "-std=c++17", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast")
TENSORFLOW_FLAGS = ("-D_GLIBCXX_USE_CXX11_ABI=1", "-DEIGEN_MAX_ALIGN_BYTES=64")
FRAMEWORK = "libtensorflow_framework.so.2"


class KernelBuildError(RuntimeError):
    """The kernels could not be compiled."""


def is_current() -> bool:
    """True if the library was compiled from these sources against this TensorFlow for this processor."""
    try:
        return _runs_here(_target()) and _is_current(LIBRARY, _description(_installed_tensorflow(), _target()))
    except (OSError, ValueError, KernelBuildError):
        return False


def build(library: Path = LIBRARY, tensorflow: Path | None = None, target: str | None = None) -> bool:
    """Compiles if needed; False if there was nothing to do.

    tensorflow: the package's folder, by default the installed one's. target: of the compiler's -march.
    Raises KernelBuildError with the compiler's words.
    """
    folder, target = tensorflow or _installed_tensorflow(), target or _target()
    description, stamp = _description(folder, target), library.with_suffix(".json")
    if _is_current(library, description):
        return False
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise KernelBuildError("no C++ compiler was found. Install one: apt-get install g++, or set CXX")
    version = _version(folder)
    staged = library.with_name(f".{library.name}.{os.getpid()}.tmp")
    command = [
        *shlex.split(compiler), *FLAGS, *TENSORFLOW_FLAGS, f"-march={target}", f"-isystem{folder / 'include'}",
        *map(str, sorted(SOURCES.glob("*.cc"))), "-o", str(staged), f"-L{folder}", f"-l:{FRAMEWORK}",
    ]  # fmt: skip
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise KernelBuildError(f"{' '.join(command)}\n{result.stderr.strip()}")
        stamp.unlink(missing_ok=True)
        staged.replace(library)
    except OSError as error:
        raise KernelBuildError(f"{library}: could not be written: {error}") from error
    finally:
        staged.unlink(missing_ok=True)
    written = {"tensorflow": version, **description}
    stamp.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    return True


def _is_current(library: Path, description: Mapping[str, Any]) -> bool:
    stamp = library.with_suffix(".json")
    try:
        return library.is_file() and description.items() <= json.loads(stamp.read_text(encoding="utf-8")).items()
    except (OSError, ValueError, AttributeError):
        return False


def _target() -> str:
    return os.environ.get("RECSERVE_MARCH", NATIVE)


def _runs_here(target: str) -> bool:
    """False if the named target has instructions that this processor lacks."""
    return INSTRUCTIONS.get(target, frozenset()) <= set(_processor_flags())


def _installed_tensorflow() -> Path:
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.origin is None:
        raise KernelBuildError("TensorFlow is not installed; the kernels are compiled against it")
    return Path(spec.origin).parent


def _description(tensorflow: Path, target: str) -> dict[str, Any]:
    """What the library depends on. instructions: all that a processor must have to run it."""
    framework = (tensorflow / FRAMEWORK).stat()
    sources = hashlib.sha256()
    for path in sorted(SOURCES.iterdir()):
        sources.update(path.name.encode() + b"\0" + path.read_bytes())
    return {
        "tensorflow_library": f"{framework.st_size} bytes of {framework.st_mtime_ns}",
        "sources_sha256": sources.hexdigest(),
        "flags": " ".join((*FLAGS, *TENSORFLOW_FLAGS)),
        "target": target,
        # of this processor any may be in use: the library of another one may not run here
        "instructions": sorted(_processor_flags() if target == NATIVE else INSTRUCTIONS.get(target, ())),
    }


def _version(tensorflow: Path) -> str:
    """As TF_Version() has it, from the headers."""
    text = (tensorflow / "include/tensorflow/core/public/version.h").read_text(encoding="utf-8")
    numbers = [re.search(rf"#define TF_{part}_VERSION (\d+)", text) for part in ("MAJOR", "MINOR", "PATCH")]
    suffix = re.search(r'#define TF_VERSION_SUFFIX "([^"]*)"', text)
    if not all(numbers):
        raise KernelBuildError(f"{tensorflow}: its version.h names no version; is it TensorFlow's package?")
    return ".".join(n[1] for n in numbers if n) + (suffix[1] if suffix else "")


def _processor_flags() -> list[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return [platform.processor()]
    return next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training.native.build", description="Compiles the CPU kernels.")
    parser.add_argument("--tensorflow", type=Path, help="folder of the package [default: the installed one]")
    parser.add_argument(
        "--target", help=f"-march of the compiler: {', '.join(INSTRUCTIONS)} [default: RECSERVE_MARCH, else {NATIVE}]"
    )
    parser.add_argument("--folder", type=Path, default=LIBRARY.parent, help="where to [default: %(default)s]")
    args = parser.parse_args()
    library = args.folder / LIBRARY.name
    try:
        built = build(library, args.tensorflow, args.target)
    except (KernelBuildError, OSError) as error:
        print(f"Error: the CPU kernels did not compile; all works without them, slower.\n{error}", file=sys.stderr)
        return 1
    print(f"{'Built' if built else 'Up to date'}: {library}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
