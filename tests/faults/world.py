"""What a trial needs: a repository, the real Triton over it, a watched folder, the real side-car, and steady load."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deploy.connection import Connection
from deploy.server_admin import ServerAdmin
from export.live_version import live_version
from export.repository import rejected_versions, versions
from serving.embedded import TritonServer
from serving.ports import choose_free_port
from tests.faults.datasets import ROOT, Datasets
from tests.faults.load import RANK_ROWS, ROWS
from tests.training.options import SMALLEST

TRAIN = (*SMALLEST, "--global_batch_size", "2048", "--lr", "0.003", "--seed", "1", "--shuffle_rows", "2048")
EXPORT = ("--parity_rows", "16", "--instances", "2", "--max_batch_size", "64")
FAST = ("--poll_s", "0.2", "--retry_wait_s", "0.5", "--held_rows", "200", "--nice", "0")
LOOSE = ("--max_metric_drop", "0.9", "--baseline", "recorded")
MODELS = ("sim", "sim_rank")


class TrialFailed(AssertionError):
    """A trial did not show what it must."""


def require(condition: object, message: str) -> None:
    if not condition:
        raise TrialFailed(message)


class World:
    """work: everything lies there. small_disk: the repository's own file system, where one can be mounted."""

    def __init__(self, work: Path, users: int) -> None:
        self.work = work
        self.repository, self.data, self.state = work / "models", work / "data", work / "state"
        for folder in (self.repository, self.data, self.state):
            folder.mkdir(parents=True, exist_ok=True)
        self.datasets = Datasets(work / "made", users)
        self.ports = [choose_free_port("127.0.0.1", set()) for _ in range(3)]
        self.cycle_s = 0.0  # from a dataset to a served version, set by the first one
        self._server: TritonServer | None = None

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.ports[0]}"

    def start_server(self, repository: Path | None = None) -> TritonServer:
        """On the same ports each time, as a supervisor restarts it. Explicit model control, all models loaded."""
        grpc, http, metrics = self.ports
        self._server = TritonServer(
            repository or self.repository, grpc_port=grpc, http_port=http, metrics_port=metrics,
            model_control_mode="explicit", load_models=["*"], log_file=self.work / "triton.log",
        )  # fmt: skip
        self._server.start()
        self._server.wait_until_ready(60.0)
        return self._server

    def kill_server(self) -> None:
        """SIGKILL."""
        if self._server is not None:
            os.kill(self._server.pid, signal.SIGKILL)
            self._server.stop()

    def stop_server(self) -> None:
        if self._server is not None:
            self._server.stop(timeout_s=10.0)

    def start_sidecar(self, *options: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.sidecar_command(*options), cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._sidecar_log(), start_new_session=True,
        )  # fmt: skip

    def run_sidecar(self, *options: str, timeout_s: float = 600.0) -> None:
        """Until no dataset is waiting."""
        process = self.start_sidecar("--once", *options)
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            end(process)
            raise TrialFailed(f"the side-car was not done after {timeout_s:g} s:\n{self.sidecar_tail()}") from None
        require(code == 0, f"the side-car ended with {code}:\n{self.sidecar_tail()}")

    def sidecar_command(self, *options: str) -> list[str]:
        return [
            sys.executable, "-m", "recserve", "sidecar", "--data", str(self.data), "--model_repository",
            str(self.repository), "--state_dir", str(self.state), "--url", self.url, "--metrics_port", "0",
            "--train_options", " ".join(TRAIN), "--export_options", " ".join(EXPORT), "--epochs", "1",
            *FAST, *options,
        ]  # fmt: skip

    def decisions(self) -> list[dict[str, Any]]:
        """The data of the DLLogger lines, oldest first."""
        file = self.state / "decisions.json"
        lines = file.read_text().splitlines() if file.is_file() else []
        return [json.loads(line.removeprefix("DLLL "))["data"] for line in lines]

    def last_decision(self, dataset: Path) -> dict[str, Any]:
        found = [d for d in self.decisions() if d.get("dataset") == str(dataset.resolve())]
        require(found, f"nothing is on record about {dataset.name}")
        return found[-1]

    def live(self) -> int | None:
        return live_version(self.repository / "sim")

    def require_serving(self, version: int) -> None:
        """That version, ready in both models, alone; the server ready; nothing partial in the repository."""
        with ServerAdmin(Connection(self.url)) as admin:
            for model in MODELS:
                deadline = time.monotonic() + 10.0  # a version before is unloaded a moment later
                while admin.ready_versions(model) != [version] and time.monotonic() < deadline:
                    time.sleep(0.05)
                require(
                    admin.ready_versions(model) == [version],
                    f"{model}: expected version {version} alone, got {admin.states(model)}",
                )
            require(admin.is_ready(), "the server says that it is not ready")
        self.require_whole()

    def require_whole(self) -> None:
        """No staging folder or candidate; every version of both models has all of its files."""
        found = sorted(p.name for p in self.repository.iterdir() if p.name != "lost+found" and p.is_dir())
        require(found == sorted(MODELS), f"expected {MODELS} in the repository, got {found}")
        numbers = [versions(self.repository / model) for model in MODELS]
        require(numbers[0] == numbers[1], f"the models have different versions: {numbers}")
        for model in MODELS:
            hidden = [p.name for p in (self.repository / model).glob(".*") if not p.name.startswith(".rejected-")]
            require(not hidden, f"{model}: left behind: {hidden}")
            for number in numbers[0]:
                folder = self.repository / model / str(number)
                for name in ("config.pbtxt", "manifest.json", "feature_spec.yaml", "model.savedmodel/saved_model.pb"):
                    require((folder / name).is_file(), f"{folder}: {name} is missing")

    def live_kind(self) -> str:
        """The kind of dataset that the live version came from."""
        manifest = json.loads((self.repository / "sim" / str(self.live()) / "manifest.json").read_text())
        return str(Path(manifest["dataset"]).name.split("-", 2)[2])

    def rejected(self) -> dict[int, str]:
        return rejected_versions(self.repository / "sim")

    def sidecar_tail(self) -> str:
        file = self.work / "sidecar.log"
        return "\n".join(file.read_text(errors="replace").splitlines()[-20:]) if file.is_file() else ""

    def _sidecar_log(self) -> int:
        return os.open(self.work / "sidecar.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


class SteadyLoad:
    """The load generator over rows of the live version's held set; answers are read when it has ended."""

    def __init__(self, world: World, rate: float, models: Sequence[str] = MODELS) -> None:
        self._folder = world.work / "load"
        self._folder.mkdir(exist_ok=True)
        self.answers_file = self._folder / "answers.npz"
        self.answers_file.unlink(missing_ok=True)
        rows = held_inputs(world.repository / "sim" / str(world.live()), ROWS)
        files = []
        for model in models:
            count = ROWS if model == "sim" else RANK_ROWS
            file = self._folder / f"{model}.npz"
            np.savez(file, **{name: values[:count] for name, values in rows.items()})
            files.append((model, str(file)))
        settings = {"url": world.url, "rate": rate, "models": files, "answers": str(self.answers_file)}
        (self._folder / "settings.json").write_text(json.dumps(settings))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.load", str(self._folder / "settings.json")],
            cwd=ROOT, stdin=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def stop(self) -> dict[str, np.ndarray]:
        """due [n], seconds [n], request [n], version [n], score [n], error [n], sent []."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        require(self._process.wait(60.0) == 0, "the load generator failed")
        with np.load(self.answers_file, allow_pickle=False) as arrays:
            return dict(arrays)

    def __enter__(self) -> SteadyLoad:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def held_inputs(version: Path, rows: int) -> dict[str, np.ndarray]:
    with np.load(version / "held_set.npz", allow_pickle=False) as arrays:
        return {n.removeprefix("input/"): arrays[n][:rows] for n in arrays.files if n.startswith("input/")}


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL, to that process alone: its children must go by themselves."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[bool]:
    """A file system of that size at the folder, unmounted afterwards. False where one may not be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "recserve-faults", str(folder)]
    done = subprocess.run(command, capture_output=True, check=False) if mount and os.geteuid() == 0 else None
    mounted = done is not None and done.returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)
