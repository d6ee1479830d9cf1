"""Takes out of TensorFlow's wheels what the native backend needs: the C headers and the libraries.

    python3 fetch_tensorflow.py <lock file> <target folder>

Downloads the wheels that the lock file names, by their hashes, with pip. Standard library only: it runs in the build
stage of Dockerfile.triton. Writes <target>/tensorflow/ and, of wheels of CUDA libraries, <target>/nvidia/: next to each
other, as in site-packages, because TensorFlow's rpath looks there.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

LIBRARIES = ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2")
WANTED = ("include/", "THIRD_PARTY_NOTICES.txt", *LIBRARIES)


def main() -> int:
    lock_file, target = map(Path, sys.argv[1:])
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target) as wheels:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        command += ["--python-version", "3.11", "--platform", "manylinux2014_x86_64", "--platform", "manylinux1_x86_64"]
        command += ["--require-hashes", "--requirement", str(lock_file), "--dest", wheels]
        subprocess.run(command, check=True)
        for wheel in sorted(Path(wheels).glob("*.whl")):
            unpack(wheel, target)
            wheel.unlink()
    (target / "nvidia").mkdir(exist_ok=True)  # empty without CUDA, so that one COPY suits both
    missing = [name for name in LIBRARIES if not (target / "tensorflow" / name).is_file()]
    if missing:
        print(f"the wheels of {lock_file} have no tensorflow/{', '.join(missing)}", file=sys.stderr)
    return 1 if missing else 0


def unpack(wheel: Path, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if member.is_dir() or not is_wanted(member.filename):
                continue
            path = target / member.filename
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, path.open("wb") as sink:
                while chunk := source.read(1 << 20):
                    sink.write(chunk)
            path.chmod(0o755 if member.external_attr >> 16 & 0o100 else 0o644)


def is_wanted(name: str) -> bool:
    package, _, rest = name.partition("/")
    return (package == "tensorflow" and rest.startswith(WANTED)) or (package == "nvidia" and "/include/" not in rest)


if __name__ == "__main__":
    sys.exit(main())
