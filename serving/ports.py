"""TCP ports of the host that Triton is to listen on."""

from __future__ import annotations

import random
import socket

# below the range that the system hands to outgoing connections, so that a chosen port stays free until Triton binds
CHOICE_RANGE = range(20_000, 32_000)
ATTEMPTS = 200


def listen_error(host: str, port: int) -> str | None:
    """Why a server could not listen there now; None if it could. Connections that linger do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            return error.strerror or str(error)
    return None


def port_is_free(host: str, port: int) -> bool:
    """True if a server could listen there now."""
    return listen_error(host, port) is None


def port_answers(host: str, port: int) -> bool:
    """True if something accepts connections there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def choose_free_port(host: str, taken: set[int]) -> int:
    """A free port that is not in `taken`."""
    for _ in range(ATTEMPTS):
        port = random.choice(CHOICE_RANGE)
        if port not in taken and port_is_free(host, port):
            return port
    raise OSError(f"found no free port on {host} in {CHOICE_RANGE.start}..{CHOICE_RANGE.stop}")
