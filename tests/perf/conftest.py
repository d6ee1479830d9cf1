"""Stand-ins for perf_analyzer: small programs, so that its rare outcomes can be had at will."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

HEADINGS = (
    "Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,"
    "Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency"
)
FIGURES = "4,3200,2,99,73,2,640,42,0,4000,5000,6000,7500"


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[..., Path]:
    """stand_in(passes=[(rows/s, µs), …], …) -> an executable that behaves like perf_analyzer in the parts we read."""

    def make(
        passes: list[tuple[float, int]] | None = None, figures: str | None = FIGURES, says: str = "", code: int = 0
    ) -> Path:
        lines = [
            f"  Pass [{n}] throughput: {rate} infer/sec. Avg latency: {us} usec (std 139 usec). "
            for n, (rate, us) in enumerate(passes or [], start=1)
        ]
        lines += ["    Request count: 600", says]
        text = "\n".join(lines)
        program = tmp_path / "perf_analyzer"
        program.write_text(
            "#!/usr/bin/env python3\n"
            "import sys\n"
            f"print({text!r})\n"
            f"figures = {figures!r}\n"
            "if figures:\n"
            f"    open(sys.argv[sys.argv.index('-f') + 1], 'w').write({HEADINGS!r} + '\\n' + figures + '\\n')\n"
            f"sys.exit({code})\n"
        )
        program.chmod(0o755)
        return program

    return make
