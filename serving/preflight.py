"""What `recserve serve` checks and prepares before it starts Triton."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from serving.backend_build import backend_is_current, build_backend
from serving.errors import ServerError
from serving.ports import listen_error
from serving.tool_folder import TRITON_VERSION, ToolFolder
from serving.tools import fetch_tools, tools_are_current


def require_models(model_repository: Path, may_be_empty: bool = False) -> None:
    """Raises ServerError unless the folder holds at least one model: a folder with a config.pbtxt.

    may_be_empty: a folder is enough, for a server that loads models on request.
    """
    if not model_repository.is_dir():
        raise ServerError(f"--model_repository {model_repository}: there is no such folder. Export a model first.")
    if not may_be_empty and not any(model_repository.glob("*/config.pbtxt")):
        raise ServerError(
            f"--model_repository {model_repository} holds no model (expected <model>/config.pbtxt). "
            "Export one first: recserve export"
        )


def require_free_ports(host: str, ports: dict[str, int]) -> None:
    """Raises ServerError if the server could not listen on a port, or one is given twice.

    Args:
        ports: option -> port; 0 (choose a free one) always passes.
    """
    seen: dict[int, str] = {}
    for option, port in ports.items():
        if port == 0:
            continue
        if port in seen:
            raise ServerError(f"{option} and {seen[port]} are both {port}; expected different ports")
        seen[port] = option
        reason = listen_error(host, port)
        if reason is not None:
            raise ServerError(
                f"{option} {port}: cannot listen on {host}:{port}: {reason}. Stop what listens there "
                "(recserve stop, if it is yours) or give another port; 0 chooses a free one."
            )


def prepare_tools(tools: ToolFolder, say: Callable[[str], None]) -> None:
    """Fetches Triton and compiles the backend if they are missing or out of date."""
    if not tools_are_current(tools):
        say(f"Fetching Triton {TRITON_VERSION} and perf_analyzer (70 MB, once) into {tools.root}")
        fetch_tools(tools)
    if not backend_is_current(tools):
        say(f"Compiling the TensorFlow backend (about 10 s, once) into {tools.backends}")
        build_backend(tools)
