"""Administrative calls only with a secret: Triton's restricted protocols."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from serving.errors import ServerError

# What changes the server or tells of other clients' work. Scoring needs health, metadata, model-config and inference.
RESTRICTED_PROTOCOLS = "model-repository,shared-memory,statistics,trace,logging"
KEY = "admin-key"
GRPC_HEADER = f"triton-grpc-protocol-{KEY}"
SECRET = re.compile(r"[A-Za-z0-9._~+/-]{16,256}")


@dataclass(frozen=True)
class AdminSecret:
    """The value of the header that restricted calls must carry: gRPC_HEADER over gRPC, KEY over HTTP."""

    value: str = field(repr=False)

    @classmethod
    def load(cls, file: Path) -> AdminSecret:
        """file: holds the secret in its one line. Raises ServerError, which never shows what is in the file."""
        try:
            value = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ServerError(f"--admin_secret_file: cannot read {file}: {reason}") from error
        if not SECRET.fullmatch(value):
            raise ServerError(
                f"--admin_secret_file: {file} holds {len(value)} characters in all; expected 16 to 256 letters, digits "
                "and . _ ~ + / - in one line, as `openssl rand -hex 32` writes them"
            )
        return cls(value)

    def triton_arguments(self) -> list[str]:
        """Triton takes the secret in no other way: who may read its command line (/proc/<pid>/cmdline) has it."""
        restricted = f"{RESTRICTED_PROTOCOLS}:{KEY}={self.value}"
        return [f"--grpc-restricted-protocol={restricted}", f"--http-restricted-api={restricted}"]

    def grpc_headers(self) -> dict[str, str]:
        return {GRPC_HEADER: self.value}
