"""How the C library keeps freed memory."""

from __future__ import annotations

import ctypes
import os

M_ARENA_MAX = -8  # glibc, malloc.h
ARENAS = 2


def limit_arenas() -> None:
    """At most two arenas for all threads, unless the environment variable MALLOC_ARENA_MAX says otherwise.

    By default glibc gives up to eight per processor, and what is freed in one does not serve another: measured on
    MovieLens-1M, two take 40 MB less at the peak, at the same speed. Only arenas that are not there yet are meant, so
    call this early. Does nothing with other C libraries.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(M_ARENA_MAX, ARENAS)
