"""Where the fetched binaries and the built backend lie.

.tools/triton/2.51.0/         the binaries, unpacked from their wheels
.tools/bin/tritonserver       wrappers: they give each program its libraries, for that process only
.tools/bin/perf_analyzer
.tools/backends/tensorflow/   the native backend
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TRITON_VERSION = "2.51.0"
REPOSITORY_ROOT = Path(__file__).resolve().parents[1]
# where `make kernels` puts them; the backend looks there, and needs none
CPU_KERNELS = REPOSITORY_ROOT / "training" / "native"


@dataclass(frozen=True)
class ToolFolder:
    """Paths inside one tool folder. Nothing here is created by asking for it."""

    root: Path

    @property
    def triton(self) -> Path:
        return self.root / "triton" / TRITON_VERSION

    @property
    def tritonserver(self) -> Path:
        return self.root / "bin" / "tritonserver"

    @property
    def perf_analyzer(self) -> Path:
        return self.root / "bin" / "perf_analyzer"

    @property
    def backends(self) -> Path:
        return self.root / "backends"

    @property
    def backend_library(self) -> Path:
        return self.backends / "tensorflow" / "libtriton_tensorflow.so"


def default_tool_folder() -> ToolFolder:
    """`<repository>/.tools`, or what the environment variable RECSERVE_TOOLS says."""
    override = os.environ.get("RECSERVE_TOOLS")
    return ToolFolder(Path(override).resolve() if override else REPOSITORY_ROOT / ".tools")
