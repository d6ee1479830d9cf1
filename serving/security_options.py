"""The options of `recserve serve` for TLS and for the administrators' secret."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from serving.tls import ServerTls

FILE = click.Path(path_type=Path)


def security_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --tls_… and --admin_secret_file; the command gets `tls`: ServerTls or None, `admin_secret` likewise."""

    @click.option("--tls_cert", type=FILE, help="PEM file: certificate of the server. gRPC is then encrypted.")
    @click.option("--tls_key", type=FILE, help="PEM file: its private key.")
    @click.option(
        "--tls_ca",
        type=FILE,
        help="PEM file: authorities of clients' certificates. Every client must then show one (mutual TLS).",
    )
    @click.option("--tls_check_cert", type=FILE, help="PEM file: the readiness check's client certificate.")
    @click.option("--tls_check_key", type=FILE, help="PEM file: its private key.")
    @click.option("--tls_name", default="localhost", help="Host name in --tls_cert, for the readiness check.")
    @click.option(
        "--admin_secret_file",
        type=FILE,
        help="File with a secret, without which repository, shared memory, statistics, trace and log calls are "
        "refused, over gRPC and HTTP. Scoring needs none.",
    )
    @functools.wraps(command)
    def with_security(*args: Any, admin_secret_file: Path | None, **options: Any) -> Any:
        from serving.admin_secret import AdminSecret

        tls_options = {name: options.pop(name) for name in [n for n in options if n.startswith("tls_")]}
        secret = AdminSecret.load(admin_secret_file) if admin_secret_file else None
        return command(*args, tls=_server_tls(**tls_options), admin_secret=secret, **options)

    return with_security


def _server_tls(
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_ca: Path | None,
    tls_check_cert: Path | None,
    tls_check_key: Path | None,
    tls_name: str,
) -> ServerTls | None:
    from serving.tls import ServerTls

    if tls_cert and tls_key:
        return ServerTls(tls_cert, tls_key, tls_ca, tls_check_cert, tls_check_key, tls_name)
    if any((tls_cert, tls_key, tls_ca, tls_check_cert, tls_check_key)):
        raise click.UsageError("TLS needs --tls_cert and --tls_key, both; give them, or no --tls option.")
    return None
