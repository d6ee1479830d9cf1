"""The secret that a server may ask for before it does administrative calls (`recserve serve --admin_secret_file`)."""

from __future__ import annotations

from pathlib import Path

from client.errors import InvalidInput

ADMIN_HEADER = "triton-grpc-protocol-admin-key"  # Triton's prefix of restricted protocols, and the key of `serve`


def admin_header(file: Path) -> tuple[str, str]:
    """Name and value of the gRPC header. file: holds the secret in its one line.

    Raises InvalidInput for a file that cannot be read or is empty.
    """
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"--admin_secret_file: cannot read {file}: {error}") from error
    if not secret:
        raise InvalidInput(f"--admin_secret_file: {file} is empty; expected the secret of the server")
    return ADMIN_HEADER, secret
