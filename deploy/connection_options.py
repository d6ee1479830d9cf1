"""The options of every command that administers a server: where it is, TLS, and its secret."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from client.tls_options import tls_options


def connection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --url, --tls, --tls_… and --admin_secret_file; the command gets them as `connection`: a Connection."""

    @click.option("--url", default="127.0.0.1:8001", help="gRPC address of the server, host:port.")
    @tls_options
    @click.option("--admin_secret_file", default=None, type=click.Path(path_type=Path),
                  help="File with the server's secret for administrative calls.  [default: none]")  # fmt: skip
    @functools.wraps(command)
    def with_connection(*args: Any, url: str, tls: Any, admin_secret_file: Path | None, **options: Any) -> Any:
        from client.admin import admin_header
        from deploy.connection import Connection

        headers = dict([admin_header(admin_secret_file)]) if admin_secret_file else {}
        return command(*args, connection=Connection(url, tls, headers), **options)

    return with_connection
