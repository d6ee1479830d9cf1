"""What the C library keeps, counted in a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have neither call")
# many threads that allocate at the same time; malloc_info lists a <heap> for each arena
PROGRAM = """
import ctypes, os, sys, threading
from training.allocator import keep_memory_for_steps
keep_memory_for_steps()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
start, end = threading.Barrier(12), threading.Barrier(12)
def allocate():
    start.wait(); libc.malloc(1000); end.wait()
threads = [threading.Thread(target=allocate) for _ in range(12)]
[t.start() for t in threads]; [t.join() for t in threads]
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file); libc.fclose(file)
print(open(sys.argv[1]).read().count("<heap "))
"""


@pytest.mark.parametrize(("environment", "arenas"), [({}, 2), ({"MALLOC_ARENA_MAX": "5"}, 5)])
def test_threads_share_two_arenas_unless_the_environment_says_otherwise(tmp_path, environment, arenas) -> None:
    program = [sys.executable, "-c", PROGRAM, str(tmp_path / "info.xml")]
    result = subprocess.run(program, env={"PATH": "", **environment}, capture_output=True, text=True, check=True)
    assert int(result.stdout) == arenas


def test_free_memory_goes_back_to_the_system() -> None:
    program = """
import ctypes
from training.allocator import return_free_memory
def resident(): return int(open("/proc/self/statm").read().split()[1]) * 4096
libc = ctypes.CDLL(None); libc.malloc.restype = ctypes.c_void_p
blocks = [libc.malloc(100_000) for _ in range(1000)]
for block in blocks: ctypes.memset(ctypes.c_void_p(block), 1, 100_000)
keep = libc.malloc(100_000)  # above all others: the heap cannot shrink from its end
for block in blocks: libc.free(ctypes.c_void_p(block))
before = resident(); return_free_memory(); print(before - resident())
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(result.stdout) > 50_000_000
