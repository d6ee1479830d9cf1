"""The commands `recserve serve` and `recserve stop`."""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serving.security_options import security_options

if TYPE_CHECKING:
    from serving.admin_secret import AdminSecret
    from serving.embedded import TritonServer
    from serving.readiness import ReadyModel
    from serving.tls import ServerTls

CONTEXT = {"show_default": True, "help_option_names": ["-h", "--help"]}
LOOPBACK = ("127.", "localhost")
POLL_S = 0.2
PORT = click.IntRange(0, 65535)


class Stopped(Exception):
    """SIGINT or SIGTERM arrived."""


@contextmanager
def signals_stop() -> Iterator[None]:
    """Inside, Ctrl-C and SIGTERM raise Stopped, so that everything is taken down in order.

    The second one interrupts that and kills; from then on there is nothing left to hurry, so more are ignored.
    """
    arrived = 0

    def stop(number: int, _frame: object) -> None:
        nonlocal arrived
        arrived += 1
        if arrived > 2:
            return
        raise Stopped(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.command(context_settings=CONTEXT)
@click.option(
    "--model_repository",
    type=click.Path(path_type=Path),
    default=Path("model_repository"),
    help="Folder with one folder per model, as export writes it.",
)
@click.option("--grpc_port", type=PORT, default=8001, help="Port of gRPC; 0 chooses a free one.")
@click.option("--http_port", type=PORT, default=8000, help="Port of HTTP; 0 chooses a free one.")
@click.option("--metrics_port", type=PORT, default=8002, help="Port of Prometheus metrics; 0 chooses a free one.")
@click.option("--host", default="127.0.0.1", help="Address to listen on. Keep to loopback: see the text above.")
@security_options
@click.option(
    "--startup_timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    default=120.0,
    help="Seconds until every model must have scored once.",
)
@click.option(
    "--model_control_mode",
    type=click.Choice(["none", "poll", "explicit"]),
    default="none",
    help="none: load all models once. poll: watch the folder for new versions. "
    "explicit: load all, then load and unload on request.",
)
@click.option("--detach", is_flag=True, help="Return when the server scores; it goes on until `recserve stop`.")
@click.option(
    "--state_dir",
    type=click.Path(path_type=Path),
    default=Path(".recserve"),
    help="Folder for logs and for server.json, which describes the detached server.",
)
@click.option(
    "--log_file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Triton's log.  [default: <state_dir>/triton-<gRPC port>.log]",
)
def serve(
    model_repository: Path,
    grpc_port: int,
    http_port: int,
    metrics_port: int,
    host: str,
    tls: ServerTls | None,
    admin_secret: AdminSecret | None,
    startup_timeout_s: float,
    model_control_mode: str,
    detach: bool,
    state_dir: Path,
    log_file: Path | None,
) -> None:
    """Serve a model repository with Triton and the native TensorFlow backend.

    Fetches Triton and compiles the backend first if they are missing. Prints endpoints and models when every
    model version has answered a real scoring call, then waits; Ctrl-C or SIGTERM stops the server.

    This Triton (2.51.0, the newest on the package index) lacks the security fixes of 2025-26: it is for
    development and tests on this machine.
    """
    from serving.detached import require_none_running
    from serving.embedded import TritonServer
    from serving.errors import ServerError
    from serving.preflight import prepare_tools, require_free_ports, require_models
    from serving.tool_folder import default_tool_folder

    require_models(model_repository, may_be_empty=model_control_mode == "explicit")
    if detach:
        require_none_running(state_dir)
    ports = {"--grpc_port": grpc_port, "--http_port": http_port, "--metrics_port": metrics_port}
    require_free_ports(host, ports)
    if not host.startswith(LOOPBACK):
        _say(f"Warning: --host {host} lets other machines reach a Triton without the security fixes of 2025-26.")
    tools = default_tool_folder()
    prepare_tools(tools, _say)
    server = TritonServer(
        model_repository,
        host=host,
        tls=tls,
        admin_secret=admin_secret,
        grpc_port=grpc_port,
        http_port=http_port,
        metrics_port=metrics_port,
        tools=tools,
        log_file=log_file,
        log_dir=state_dir,
        model_control_mode=model_control_mode,
        load_models=["*"] if model_control_mode == "explicit" else [],
        outlive_parent=detach,
    )
    with signals_stop():
        try:
            if detach:
                _serve_detached(server, state_dir, startup_timeout_s)
            else:
                _serve_attached(server, startup_timeout_s)
        except Stopped as signal_name:
            raise ServerError(f"{signal_name} while stopping: the server was killed, requests in flight too") from None


@click.command(context_settings=CONTEXT)
@click.option(
    "--state_dir",
    type=click.Path(path_type=Path),
    default=Path(".recserve"),
    help="The folder that `serve --detach` was given.",
)
@click.option(
    "--timeout_s",
    type=click.FloatRange(min=0),
    default=40.0,
    help="Seconds for requests in flight to finish; then the server is killed.",
)
def stop(state_dir: Path, timeout_s: float) -> None:
    """Stop the server that `serve --detach` started. Does nothing if none runs."""
    from serving.detached import stop_detached

    pid = stop_detached(state_dir, timeout_s)
    click.echo("No server is running." if pid is None else f"Stopped the server with process id {pid}.")


def _serve_detached(server: TritonServer, state_dir: Path, startup_timeout_s: float) -> None:
    from serving.detached import start_detached
    from serving.errors import ServerError

    try:
        models = start_detached(server, state_dir, startup_timeout_s)
    except Stopped as signal_name:
        raise ServerError(f"{signal_name} before the server was ready; it was stopped") from None
    _print_ready(server, models)
    click.echo(f"Stop it:  recserve stop --state_dir {shlex.quote(str(state_dir))}")


def _serve_attached(server: TritonServer, startup_timeout_s: float) -> None:
    from serving.errors import ServerError

    ready = False
    try:
        server.start()
        models = server.wait_until_ready(startup_timeout_s)
        ready = True
        _print_ready(server, models)
        click.echo("Ctrl-C stops it.")
        while server.is_running():
            time.sleep(POLL_S)
        raise ServerError(f"Triton ended by itself:\n{server.log_tail()}")
    except Stopped as signal_name:
        if not ready:
            raise ServerError(f"{signal_name} before the server was ready; it was stopped") from None
        _say(f"{signal_name}: stopping the server; requests in flight may finish.")
    finally:
        _stop_attached(server)


def _stop_attached(server: TritonServer) -> None:
    try:
        server.stop()
    except Stopped:
        server.stop(timeout_s=0)  # for when the signal came before the kill that it asks for
        raise


def _print_ready(server: TritonServer, models: list[ReadyModel]) -> None:
    ends = server.endpoints
    width = max(len(name) for name in ("metrics", *(model.name for model in models)))
    rows = [
        ("gRPC", ends.grpc + (" (TLS)" if server.uses_tls else "")),
        ("HTTP", ends.http),
        ("metrics", ends.metrics),
        ("log", str(server.log_file)),
    ]
    for name, value in rows:
        click.echo(f"{name:<{width}}  {value}")
    click.echo(f"{'model':<{width}}  version (each has scored a row)")
    for model in models:
        click.echo(f"{model.name:<{width}}  {model.version}")


def _say(text: str) -> None:
    click.echo(text, err=True)
