"""perf_analyzer: one process per point, its CSV and its output -> a result row.

A range given to one process would stop at the first unstable point. So each point has its own, three windows long,
with perf_analyzer's own stability check opened wide: it would drop the figures of an unstable point. We check the
windows ourselves, and mark the row.
"""

from __future__ import annotations

import csv
import math
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from client import TlsFiles
from perf.errors import PointFailed, ToolMissing
from perf.points import PERF_ANALYZER, Point, ResultRow
from perf.processes import Finished, run

BINARY_VARIABLE, TOOLS_VARIABLE = "RECSERVE_PERF_ANALYZER", "RECSERVE_TOOLS"
WINDOWS = 3
MOST_THREADS = 64
PASS = re.compile(r"Pass \[\d+\] throughput: ([\d.]+) infer/sec\. Avg latency: (\d+) usec")
REQUESTS = re.compile(r"Request count: (\d+)")
DELAYED = re.compile(r"([\d.]+)% of the requests were delayed")
TIMED_COLUMNS = ("Server Compute Input", "Server Compute Infer", "Server Compute Output")


@dataclass(frozen=True)
class Analyzer:
    """What all points share. input_data: JSON of perf.payloads. stable_within: largest share, such as 0.1, by which
    throughput and mean latency of the windows may differ. timeout_s: for one point. work_dir: for temporary files; None
    is the system's folder. admin_header: name and value for a server with restricted statistics; it can be read in the
    list of processes.
    """

    binary: Path
    url: str
    model: str
    version: str
    input_data: Path
    stable_within: float = 0.1
    timeout_s: float = 120.0
    work_dir: Path | None = None
    tls: TlsFiles | None = None
    admin_header: tuple[str, str] | None = None

    def measure(self, point: Point, requests: int) -> ResultRow:
        """requests: at least so many are measured; a window also lasts about a second at least.

        Raises PointFailed with what perf_analyzer said.
        """
        with tempfile.TemporaryDirectory(prefix="perf-analyzer-", dir=self.work_dir) as folder:
            result = Path(folder) / "result.csv"
            finished = run(self.command(point, requests, result), self.timeout_s)
            rows = list(csv.DictReader(result.open(newline=""))) if result.is_file() else []
        if finished.code != 0 or len(rows) != 1:
            raise PointFailed(f"perf_analyzer ended with code {finished.code}:\n{_complaint(finished.output)}")
        return result_row(point, rows[0], finished, self.stable_within)

    def command(self, point: Point, requests: int, result: Path) -> list[str]:
        if point.request_rate is not None:
            # --async: a slow answer must not hold back the next request
            load = [f"--request-rate-range={point.request_rate:g}", "--request-distribution=poisson", "--async"]
        else:
            load = [f"--concurrency-range={point.concurrency}", f"--max-threads={MOST_THREADS}"]
        return [
            str(self.binary), "-m", self.model, "-x", self.version, "-u", self.url, "-i", "grpc",
            "-b", str(point.batch_size), f"--input-data={self.input_data}", *load,
            "--measurement-mode=count_windows", f"--measurement-request-count={math.ceil(requests / WINDOWS)}",
            f"--max-trials={WINDOWS}", "--stability-percentage=100000", "-v", "-f", str(result),
            *_tls_arguments(self.tls), *(["-H", ":".join(self.admin_header)] if self.admin_header else []),
        ]  # fmt: skip


def _tls_arguments(tls: TlsFiles | None) -> list[str]:
    if tls is None:
        return []
    files = {
        "--ssl-grpc-root-certifications-file": tls.root_certificates,
        "--ssl-grpc-private-key-file": tls.private_key,
        "--ssl-grpc-certificate-chain-file": tls.certificate_chain,
    }
    named = [argument for option, file in files.items() if file for argument in (option, str(file))]
    return ["--ssl-grpc-use-ssl", "true", *named]


def find_perf_analyzer(option: Path | None = None) -> Path:
    """The option, RECSERVE_PERF_ANALYZER, the tool folder (RECSERVE_TOOLS or .tools), PATH: the first that is given.

    Raises ToolMissing.
    """
    named = option or (Path(os.environ[BINARY_VARIABLE]) if os.environ.get(BINARY_VARIABLE) else None)
    if named is not None:
        if os.access(named, os.X_OK) and named.is_file():
            return named
        source = "--perf_analyzer" if option else BINARY_VARIABLE
        raise ToolMissing(f"{source}: got {named}; expected the executable perf_analyzer. `make tools` installs it.")
    tools = Path(os.environ.get(TOOLS_VARIABLE) or Path(__file__).resolve().parents[1] / ".tools")
    in_tools = tools / "bin" / "perf_analyzer"
    if in_tools.is_file():
        return in_tools.absolute()
    on_path = shutil.which("perf_analyzer")
    if on_path:
        return Path(on_path)
    raise ToolMissing(
        f"perf_analyzer is neither {in_tools} nor on PATH. Run `make tools`, or name it by --perf_analyzer or "
        f"{BINARY_VARIABLE}."
    )


def result_row(point: Point, row: dict[str, str], finished: Finished, stable_within: float) -> ResultRow:
    """row: perf_analyzer's CSV, times in microseconds. Its inferences are rows: a request counts batch_size of them."""
    rows_per_s = float(row["Inferences/Second"])
    ms = {p: float(row[f"p{p} latency"]) / 1e3 for p in (50, 90, 95, 99)}
    requests = REQUESTS.search(finished.output)
    delayed = DELAYED.search(finished.output)
    return ResultRow(
        tool=PERF_ANALYZER,
        batch_size=point.batch_size,
        concurrency=point.concurrency,
        request_rate=point.request_rate,
        requests=int(requests[1]) if requests else 0,
        requests_per_s=rows_per_s / point.batch_size,
        rows_per_s=rows_per_s,
        p50_ms=ms[50],
        p90_ms=ms[90],
        p95_ms=ms[95],
        p99_ms=ms[99],
        queue_ms=float(row["Server Queue"]) / 1e3,
        compute_ms=sum(float(row[column]) for column in TIMED_COLUMNS) / 1e3,
        is_stable=_windows_agree(finished.output, stable_within),
        note=f"{delayed[1]}% of the requests left late" if delayed else "",
    )


def _windows_agree(output: str, stable_within: float) -> bool:
    windows = PASS.findall(output)[-WINDOWS:]
    if len(windows) < WINDOWS:
        return False
    for figures in zip(*windows, strict=True):
        values = [float(figure) for figure in figures]
        if max(values) > min(values) * (1 + stable_within):
            return False
    return True


def _complaint(output: str) -> str:
    """perf_analyzer's last words, without the settings that it prints first."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if re.search("error|fail|must|invalid|unable|unknown", line, re.IGNORECASE)]
    return "\n".join((telling or lines)[-6:]) or "it said nothing"
