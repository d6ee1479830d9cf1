"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from training.native.build import is_current


def machine_facts() -> dict[str, Any]:
    """load_average_1_min: before the benchmark's own load; much above 0 means that others are busy."""
    return {
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": _processor(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_average_1_min": os.getloadavg()[0],
        "python": platform.python_version(),
        "tensorflow": version("tensorflow"),
        "recserve": version("recserve"),
        "native_kernels": is_current(),
    }


def machine_line(facts: dict[str, Any]) -> str:
    """The facts as a sentence below a table."""
    kernels = "with" if facts["native_kernels"] else "without"
    return (
        f"{facts['cpus']} CPUs ({facts['processor']}), {facts['memory_bytes'] / 1e9:.1f} GB, Python {facts['python']}, "
        f"TensorFlow {facts['tensorflow']}, {kernels} the native kernels; load average before: "
        f"{facts['load_average_1_min']:.1f}."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
