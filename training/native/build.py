"""Compiles the kernels: `python -m training.native.build`. Does nothing if they are up to date."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).with_name("kernels")
LIBRARY = Path(__file__).with_name("libkernels.so")
STAMP = LIBRARY.with_suffix(".json")
# -march=native: the kernels live on wide registers. RECSERVE_MARCH names another target, for images that travel.
# what the named targets ask of a processor, as /proc/cpuinfo calls it
AVX2 = frozenset(("avx2", "fma", "bmi2"))
AVX512 = AVX2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
INSTRUCTIONS = {"x86-64-v3": AVX2, "x86-64-v4": AVX512}
FLAGS = ("-O3", "-std=c++17", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast")


class KernelBuildError(RuntimeError):
    """The kernels could not be compiled."""


def is_current() -> bool:
    """True if the library was compiled from these sources against this TensorFlow for this processor."""
    try:
        return (
            LIBRARY.is_file() and _runs_here() and bool(json.loads(STAMP.read_text(encoding="utf-8")) == _fingerprint())
        )
    except (OSError, ValueError, KernelBuildError):
        return False


def build() -> bool:
    """Compiles if needed; False if there was nothing to do. Raises KernelBuildError with the compiler's words."""
    if is_current():
        return False
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise KernelBuildError("no C++ compiler was found. Install one: apt-get install g++, or set CXX")
    staged = LIBRARY.with_name(f".{LIBRARY.name}.{os.getpid()}.tmp")
    command = [
        *shlex.split(compiler), *FLAGS, f"-march={_march()}", *tf.sysconfig.get_compile_flags(),
        *map(str, sorted(SOURCES.glob("*.cc"))), "-o", str(staged), *tf.sysconfig.get_link_flags(),
    ]  # fmt: skip
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise KernelBuildError(f"{' '.join(command)}\n{result.stderr.strip()}")
        STAMP.unlink(missing_ok=True)
        staged.replace(LIBRARY)
    except OSError as error:
        raise KernelBuildError(f"{LIBRARY}: could not be written: {error}") from error
    finally:
        staged.unlink(missing_ok=True)
    STAMP.write_text(json.dumps(_fingerprint(), indent=2) + "\n", encoding="utf-8")
    return True


def _runs_here() -> bool:
    """False if the named target has instructions that this processor lacks."""
    needed = INSTRUCTIONS.get(_march(), frozenset())
    return not needed or needed <= set(_processor_flags().split())


def _march() -> str:
    return os.environ.get("RECSERVE_MARCH", "native")


def _fingerprint() -> dict[str, str]:
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.origin is None:
        raise KernelBuildError("TensorFlow is not installed; the kernels are compiled against it")
    framework = (Path(spec.origin).parent / "libtensorflow_framework.so.2").stat()
    sources = hashlib.sha256()
    for path in sorted(SOURCES.iterdir()):
        sources.update(path.name.encode() + b"\0" + path.read_bytes())
    return {
        "tensorflow": f"{framework.st_size} bytes of {framework.st_mtime_ns}",
        "sources_sha256": sources.hexdigest(),
        "flags": " ".join(FLAGS),
        "processor": f"{_march()} {_processor_features() if _march() == 'native' else ''}",
    }


def _processor_features() -> str:
    """A digest of the instruction sets of this machine: the library of another one may not run here."""
    return hashlib.sha256(_processor_flags().encode()).hexdigest()[:16]


def _processor_flags() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def main() -> int:
    try:
        built = build()
    except KernelBuildError as error:
        print(f"Error: the CPU kernels did not compile; training works without them, slower.\n{error}", file=sys.stderr)
        return 1
    print(f"{'Built' if built else 'Up to date'}: {LIBRARY}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
