"""The Triton of the tool folder as a child process: start, wait until it scores, stop."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from serving import triton_log
from serving.admin_secret import AdminSecret
from serving.endpoints import Endpoints, choose_endpoints
from serving.errors import ServerError
from serving.ports import port_answers
from serving.readiness import ReadyModel, score_every_model
from serving.tls import ServerTls
from serving.tool_folder import CPU_KERNELS, ToolFolder, default_tool_folder

LOOPBACK = "127.0.0.1"
LAUNCHER = Path(__file__).with_name("launcher.py")
POLL_S = 0.05
EXIT_TIMEOUT_S = 30  # Triton lets requests in flight finish for so long

# The kernel ties a child's death signal to the thread that forked it, not to the process. So fork from a thread
# that lives as long as the process, or a server started in a short-lived thread would end with that thread.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="triton-spawner")


class TritonServer:
    """One tritonserver process. As a context manager: started and scoring inside, stopped after.

    Args:
        model_repository: folder with one folder per model.
        host: address to listen on.
        tls: of gRPC. HTTP knows no TLS, and then listens on loopback whatever the host is.
        admin_secret: restricts administrative calls, over gRPC and HTTP.
        grpc_port, http_port, metrics_port: 0 chooses a free one.
        tools: the tool folder; default `.tools` or RECSERVE_TOOLS.
        log_file: where Triton's log goes, from its start.
        log_dir: without log_file: folder for a log named after the gRPC port. Without both: a temporary file that
            `stop` removes.
        model_control_mode: none (load all, once), poll (watch the folder) or explicit (load on request).
        load_models: with explicit, what to load at the start.
        extra_args: more arguments for tritonserver, in its spelling. gRPC, HTTP and metrics must stay on.
        outlive_parent: False ends the server when this process ends, even by SIGKILL.
        startup_timeout_s: how long the context manager waits for the server to score.
    """

    def __init__(
        self,
        model_repository: Path | str,
        *,
        host: str = LOOPBACK,
        tls: ServerTls | None = None,
        admin_secret: AdminSecret | None = None,
        grpc_port: int = 0,
        http_port: int = 0,
        metrics_port: int = 0,
        tools: ToolFolder | None = None,
        log_file: Path | str | None = None,
        log_dir: Path | str | None = None,
        model_control_mode: str = "none",
        load_models: Sequence[str] = (),
        extra_args: Sequence[str] = (),
        outlive_parent: bool = False,
        startup_timeout_s: float = 120.0,
    ) -> None:
        self._model_repository = Path(model_repository).resolve()
        self._tools = tools or default_tool_folder()
        self._log_file = Path(log_file).resolve() if log_file else None
        self._log_dir = Path(log_dir).resolve() if log_dir else None
        self._log_is_temporary = log_file is None and log_dir is None
        self._model_control_mode = model_control_mode
        self._load_models = load_models
        self._extra_args = extra_args
        self._outlive_parent = outlive_parent
        self._startup_timeout_s = startup_timeout_s
        self._host = host
        self._tls = tls
        self._admin_secret = admin_secret
        self._wanted_ports = (grpc_port, http_port, metrics_port)
        self._endpoints: Endpoints | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoints(self) -> Endpoints:
        if self._endpoints is None:
            raise ServerError("the server has no endpoints before it is started")
        return self._endpoints

    @property
    def uses_tls(self) -> bool:
        return self._tls is not None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerError("the server has no process before it is started")
        return self._process.pid

    @property
    def log_file(self) -> Path:
        if self._log_file is None:
            raise ServerError("the server has no log before it is started")
        return self._log_file

    def log_tail(self) -> str:
        """The last lines of Triton's log."""
        return triton_log.tail(self.log_file)

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the process. Returns at once; `wait_until_ready` follows."""
        if self.is_running():
            raise ServerError(f"the server is already running with process id {self.pid}")
        for path in (self._tools.tritonserver, self._tools.backend_library):
            if not path.is_file():
                raise ServerError(f"{path} is missing. Run: python -m serving.tools && python -m serving.backend_build")
        self._endpoints = choose_endpoints(self._host, LOOPBACK if self._tls else self._host, *self._wanted_ports)
        self._log_file = self._log_file or self._choose_log_file()
        command = self._command()
        if not self._outlive_parent:
            command = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *command]
        with self._open_log() as log:
            _SPAWNER.submit(self._spawn, command, log).result()

    def wait_until_ready(self, timeout_s: float = 120.0) -> list[ReadyModel]:
        """Waits until every loaded model version has scored; returns them.

        Raises:
            ServerError: the process died, a model did not load or does not score, or the time is up. The message
                holds the lines of Triton's log that say why.
        """
        deadline = time.monotonic() + timeout_s
        for host, port in self.endpoints.listening:  # metrics come last, a moment after gRPC
            while not port_answers(host, port):
                self._sleep(deadline, timeout_s)
        import tritonclient.grpc as triton
        from tritonclient.utils import InferenceServerException

        tls = self._tls.client_arguments() if self._tls else {}
        with contextlib.closing(triton.InferenceServerClient(self.endpoints.grpc, **tls)) as client:
            while True:
                try:
                    if client.is_server_ready(client_timeout=5.0):
                        return self._score(client, deadline)
                except InferenceServerException:
                    pass  # not listening yet, or dying: the next lines tell
                self._sleep(deadline, timeout_s)

    def stop(self, timeout_s: float = EXIT_TIMEOUT_S + 10.0) -> None:
        """Ends the process: SIGTERM, which lets requests in flight finish, then SIGKILL when the time is up."""
        _SPAWNER.submit(lambda: None).result()  # a signal may have interrupted `start`, but not the spawn itself
        if self._process is not None and self._process.poll() is None:
            _end(self._process, timeout_s)
        self._process = None  # not before its end: a signal on the way must not lose it
        if self._log_is_temporary and self._log_file is not None:
            self._log_file.unlink(missing_ok=True)
            self._log_file = None

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_until_ready(self._startup_timeout_s)
        except BaseException:  # Ctrl-C too
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _spawn(self, command: list[str], log: BinaryIO) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # a session of its own: Ctrl-C in the terminal reaches us alone, and we stop the server in order
            start_new_session=True,
            env={"TF_CPP_MIN_LOG_LEVEL": "1", **os.environ},  # TensorFlow's warnings, not its chat
        )

    def _score(self, client: Any, deadline: float) -> list[ReadyModel]:
        headers = self._admin_secret.grpc_headers() if self._admin_secret else None
        try:
            return score_every_model(client, max(1.0, deadline - time.monotonic()), headers)
        except ServerError as error:
            raise ServerError(f"{error}\n{triton_log.error_lines(self.log_file)}") from error

    def _sleep(self, deadline: float, timeout_s: float) -> None:
        if not self.is_running():
            code = self._process.returncode if self._process else None
            raise ServerError(f"Triton ended with code {code}:\n{triton_log.error_lines(self.log_file)}")
        if time.monotonic() > deadline:
            raise ServerError(
                f"Triton was not ready after {timeout_s:g} s; its last lines:\n{triton_log.tail(self.log_file)}"
            )
        time.sleep(POLL_S)

    def _open_log(self) -> BinaryIO:
        try:
            self.log_file.parent.mkdir(parents=True, exist_ok=True)
            return self.log_file.open("wb")
        except OSError as error:
            raise ServerError(f"cannot write the log {self.log_file}: {error.strerror}") from error

    def _choose_log_file(self) -> Path:
        if self._log_dir is not None:
            return self._log_dir / f"triton-{self.endpoints.grpc_port}.log"
        handle, name = tempfile.mkstemp(prefix="triton-", suffix=".log")
        os.close(handle)
        return Path(name)

    def _command(self) -> list[str]:
        ends = self.endpoints
        command = [
            str(self._tools.tritonserver),
            f"--model-repository={self._model_repository}",
            f"--backend-directory={self._tools.backends}",
            f"--backend-config=tensorflow,cpu-kernels={CPU_KERNELS}",
            f"--grpc-address={ends.host}",
            f"--grpc-port={ends.grpc_port}",
            f"--http-address={ends.http_host}",
            f"--http-port={ends.http_port}",
            "--allow-metrics=true",
            "--allow-gpu-metrics=false",  # the backend computes on the CPU; spares a warning on each start
            f"--metrics-address={ends.host}",
            f"--metrics-port={ends.metrics_port}",
            f"--model-control-mode={self._model_control_mode}",
            f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
        ]
        command += [f"--load-model={name}" for name in self._load_models]
        command += self._tls.triton_arguments() if self._tls else []
        command += self._admin_secret.triton_arguments() if self._admin_secret else []
        return [*command, *self._extra_args]


def _end(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    try:
        process.terminate()
        process.wait(timeout_s)
    except BaseException as error:  # time is up, or a second Ctrl-C
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # its own group: the session that we gave it
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
