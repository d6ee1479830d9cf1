"""Servers that outlive the command that started them: start with a state file, stop by it."""

from __future__ import annotations

import errno
import os
import select
import signal
from contextlib import suppress
from pathlib import Path

from serving.embedded import TritonServer
from serving.errors import ServerError
from serving.files import exclusive
from serving.readiness import ReadyModel
from serving.state import ServerState, clear_state, process_start_ticks, read_state, write_state

KILL_WAIT_S = 10.0


def require_none_running(state_dir: Path) -> None:
    """Raises ServerError, naming the process, if a detached server of this folder runs."""
    state = read_state(state_dir)
    if state is not None and state.is_alive():
        raise ServerError(
            f"a server of {state_dir} runs already: process id {state.pid}, gRPC {state.grpc}. "
            "Stop it first: recserve stop, or give another --state_dir."
        )


def start_detached(server: TritonServer, state_dir: Path, startup_timeout_s: float) -> list[ReadyModel]:
    """Starts a server made with outlive_parent=True and waits until it scores. If it does not, nothing is left."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ServerError(f"--state_dir {state_dir} cannot be made: {error.strerror}") from error
    with exclusive(state_dir / "lock"):
        require_none_running(state_dir)
        try:
            server.start()
            write_state(state_dir, _describe(server, ready=False))  # so that `stop` finds it if we are killed
            models = server.wait_until_ready(startup_timeout_s)
            write_state(state_dir, _describe(server, ready=True))
        except BaseException:  # Ctrl-C too
            try:
                server.stop()
            finally:
                clear_state(state_dir)
            raise
    return models


def stop_detached(state_dir: Path, timeout_s: float) -> int | None:
    """Stops the folder's server: SIGTERM, SIGKILL when the time is up. Returns its process id, None if none ran."""
    state = read_state(state_dir)
    if state is None:
        return None
    stopped = _stop_process(state, timeout_s)
    clear_state(state_dir)
    return state.pid if stopped else None


def _describe(server: TritonServer, ready: bool) -> ServerState:
    ends = server.endpoints
    return ServerState(
        pid=server.pid,
        start_ticks=process_start_ticks(server.pid) or 0,
        grpc=ends.grpc,
        http=ends.http,
        metrics=ends.metrics,
        log_file=str(server.log_file),
        ready=ready,
    )


def _stop_process(state: ServerState, timeout_s: float) -> bool:
    """False if the process is gone. The handle pins the process: its number cannot pass to another meanwhile."""
    try:
        handle = os.pidfd_open(state.pid)
    except (TypeError, ValueError, OverflowError):
        return False  # a damaged state file: that is no process id
    except OSError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL):  # gone, or no process id
            return False
        raise ServerError(f"cannot reach process {state.pid}: {error.strerror}; stop it with kill") from error
    try:
        if not state.is_alive():
            return False
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if not _ended(handle, timeout_s):
            with suppress(ProcessLookupError):
                os.killpg(state.pid, signal.SIGKILL)  # it leads a group of its own
            if not _ended(handle, KILL_WAIT_S):
                raise ServerError(f"process {state.pid} did not end after SIGKILL; see {state.log_file}")
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise ServerError(f"process {state.pid} belongs to another user; stop it as that user") from error
    finally:
        os.close(handle)
    return True


def _ended(handle: int, timeout_s: float) -> bool:
    """Waits for the end of the process; its handle becomes readable then."""
    return bool(select.select([handle], [], [], timeout_s)[0])
