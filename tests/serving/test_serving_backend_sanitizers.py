"""The backend's own code under sanitizers: AddressSanitizer with UndefinedBehaviorSanitizer, and ThreadSanitizer.

They cannot run inside the packaged server, so `backend_program` loads real SavedModels through the backend's entry
points and stands in for the server. It also checks what a server never lets through, like malformed strings.
`RECSERVE_SANITIZER_CALLS=25000` for a long run: calls in each of four threads, some of them cancelled.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from serving.backend_build import SOURCES, find_cmake, tensorflow_folder

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).with_name("backend_program")
CALLS = int(os.environ.get("RECSERVE_SANITIZER_CALLS", "200"))
BUILD_TIMEOUT_S, RUN_TIMEOUT_S = 1800, 600 + CALLS
OPTIONS = {
    # TensorFlow's two libraries define some symbols twice.
    "address,undefined": {"ASAN_OPTIONS": "detect_odr_violation=0", "UBSAN_OPTIONS": "print_stacktrace=1"},
    # It locks mutexes that ThreadSanitizer does not see locked, which report_mutex_bugs would count as errors.
    "thread": {"TSAN_OPTIONS": f"suppressions={PROGRAM / 'tsan.supp'}:report_mutex_bugs=0"},
}


@pytest.fixture(scope="module")
def models(saved_models: Any, special_models: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sanitizers") / "models"
    saved_models.add_open_width(folder)
    saved_models.add_keeper(folder)
    special_models.add_echo_string(folder)
    return folder


@pytest.mark.parametrize("sanitizer", OPTIONS)
def test_many_requests_from_many_threads_are_clean(sanitizer: str, models: Path, tmp_path: Path) -> None:
    settings = [f"-DTENSORFLOW_DIR={tensorflow_folder()}", f"-DBACKEND_DIR={SOURCES}", f"-DSANITIZER={sanitizer}"]
    run([find_cmake(), "-S", str(PROGRAM), "-B", str(tmp_path), *settings], BUILD_TIMEOUT_S)
    run([find_cmake(), "--build", str(tmp_path), "--parallel", "2"], BUILD_TIMEOUT_S)
    output = run([str(tmp_path / "backend_program"), str(models), str(CALLS)], RUN_TIMEOUT_S, **OPTIONS[sanitizer])
    assert f"done: {CALLS} calls in each of 4 threads" in output


def run(command: list[str], timeout_s: float, **environment: str) -> str:
    result = subprocess.run(
        command,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert result.returncode == 0, f"{' '.join(command)} ended with {result.returncode}\n{result.stdout[-8000:]}"
    return result.stdout
