"""However a sweep ends, nothing of it goes on."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from client import OutputFileError
from perf.work_folder import work_folder


def heed_interrupts() -> None:
    """A shell's background jobs start with SIGINT ignored, those of nohup with SIGHUP; the test suite passes it on."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def wait_for(is_so: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(0.02)
    return is_so()


def is_running(process_id: int) -> bool:
    """A zombie that nobody has collected does not run."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_tool_does_not_outlive_the_sweep(tmp_path: Path, number: int) -> None:
    tool = tmp_path / "hangs"
    tool.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/id.new; mv {tmp_path}/id.new {tmp_path}/id\nexec sleep 60\n")
    tool.chmod(0o755)
    program = (
        "import pathlib; from client.termination import termination_as_exit; from perf.processes import run\n"
        "from perf.work_folder import work_folder\n"
        f"with termination_as_exit(), work_folder(pathlib.Path({str(tmp_path / 'out')!r})): run([{str(tool)!r}], 50)"
    )
    sweep = subprocess.Popen([sys.executable, "-c", program], preexec_fn=heed_interrupts)  # noqa: PLW1509
    assert wait_for((tmp_path / "id").exists)
    child = int((tmp_path / "id").read_text())
    assert is_running(child)
    assert len(list((tmp_path / "out").iterdir())) == 1
    sweep.send_signal(number)
    assert sweep.wait(20) == (-number if number == signal.SIGKILL else 128 + number)
    assert wait_for(lambda: not is_running(child), 5)
    if number != signal.SIGKILL:
        assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(OutputFileError, match=str(place)), work_folder(place):
            raise RuntimeError("not reached")


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_sweep_reports_what_it_has(
    tiny_server: str, tiny_repository: Path, tmp_path: Path, number: int
) -> None:
    """The first point fails at once, since it is too large; the second would take a minute."""
    tool = tmp_path / "hangs"
    tool.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexec sleep 60\n")
    tool.chmod(0o755)
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "recserve", "sweep", "--url", tiny_server, "--model_repository", str(tiny_repository),
        "--batch_sizes", "64,2", "--concurrencies", "1", "--perf_analyzer", str(tool), "--output_dir", str(out),
        "--warmup_s", "0",
    ]  # fmt: skip
    sweep = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ,
        preexec_fn=heed_interrupts,  # noqa: PLW1509
    )  # fmt: skip
    assert wait_for((tmp_path / "started").exists, 30)
    sweep.send_signal(number)
    printed, said = sweep.communicate(timeout=30)
    assert sweep.returncode == (128 + number if number == signal.SIGTERM else 1), said
    assert "interrupted; 1 of 3 points are measured" in said
    assert "Traceback" not in said
    assert "| perf_analyzer |" in printed
    with (out / "results.csv").open() as stream:
        assert [r["batch_size"] for r in csv.DictReader(stream)] == ["64"]
    assert sorted(f.name for f in out.iterdir()) == ["report.html", "results.csv"]
