"""What a detached server leaves behind so that `stop` and scripts find it: <state_dir>/server.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from serving.errors import ServerError
from serving.files import write_text_atomically


@dataclass(frozen=True)
class ServerState:
    """A detached server. `start_ticks` tells its process from a later one with the same number."""

    pid: int
    start_ticks: int  # clock ticks after boot, field 22 of /proc/<pid>/stat
    grpc: str  # host:port
    http: str  # host:port
    metrics: str  # URL
    log_file: str
    ready: bool  # False while it starts

    def is_alive(self) -> bool:
        """True if that very process runs."""
        return process_start_ticks(self.pid) == self.start_ticks


def state_file(state_dir: Path) -> Path:
    return state_dir / "server.json"


def process_start_ticks(pid: int) -> int | None:
    """When the process was started, in clock ticks after boot. None if there is none, or it is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name, in brackets, may hold spaces and brackets
    state, start_ticks = fields[0], int(fields[19])
    return None if state == "Z" else start_ticks


def write_state(state_dir: Path, state: ServerState) -> None:
    write_text_atomically(state_file(state_dir), json.dumps(asdict(state), indent=2) + "\n")


def read_state(state_dir: Path) -> ServerState | None:
    """None if there is no file.

    Raises:
        ServerError: the file is there but is not ours to read.
    """
    path = state_file(state_dir)
    try:
        return ServerState(**json.loads(path.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, OSError) as error:
        raise ServerError(f"{path} is damaged: {error}. Delete it if no server of this folder runs.") from error


def clear_state(state_dir: Path) -> None:
    state_file(state_dir).unlink(missing_ok=True)
