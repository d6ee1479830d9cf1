"""The TLS options of every command that talks to a server."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

PEM = click.Path(path_type=Path)
FILES = {
    "tls_ca": "root_certificates",
    "tls_cert": "certificate_chain",
    "tls_key": "private_key",
}


def tls_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --tls, --tls_ca, --tls_cert and --tls_key; the command gets them as `tls`: TlsFiles, or None without TLS."""

    @click.option("--tls", is_flag=True, help="Encrypt the connection, and check the server's certificate.")
    @click.option("--tls_ca", type=PEM, default=None,
                  help="PEM file: authorities that may sign it.  [default: gRPC's list]")  # fmt: skip
    @click.option("--tls_cert", type=PEM, default=None,
                  help="PEM file: our certificate, for a server that asks for one.")  # fmt: skip
    @click.option("--tls_key", type=PEM, default=None, help="PEM file: its private key.")
    @functools.wraps(command)
    def with_tls(*args: Any, tls: bool, **options: Any) -> Any:
        from client.tls import TlsFiles

        files = {field: options.pop(option) for option, field in FILES.items()}
        if not tls and any(files.values()):
            given = next(option for option, field in FILES.items() if files[field])
            raise click.UsageError(f"--{given}: got a file, but not --tls; give both, or neither.")
        return command(*args, tls=TlsFiles(**files) if tls else None, **options)

    return with_tls
