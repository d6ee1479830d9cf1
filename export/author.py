"""Who makes a version: for the manifest."""

from __future__ import annotations

import getpass
import os
import socket


def author() -> str:
    """user@host; the user's number where it has no name, as in a container."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"
