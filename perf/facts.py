"""What was measured, on what: facts of the served version and of this machine, for the head of a report."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perf.errors import MeasureError

UNKNOWN = "not known"


def read_json(file: Path) -> dict[str, Any]:
    """Raises MeasureError for a file that is no JSON object."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MeasureError(f"{file}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise MeasureError(f"{file}: got {type(content).__name__}; expected a JSON object")
    return content


def model_facts(
    model: str, version: str, manifest: Mapping[str, Any], score_summary: Mapping[str, Any] | None
) -> dict[str, str]:
    """manifest: manifest.json of the version, {} if none. score_summary: of `recserve score --summary_file`."""
    rows, metrics, parity = (_section(manifest, name) for name in ("rows", "metrics", "parity"))
    facts = {
        "model": f"{model}, version {version}",
        "train rows": _figure(rows.get("train"), ",.0f"),
        "test rows": _figure(rows.get("test"), ",.0f"),
        "test AUC": _figure(metrics.get("test_auc"), ".4f"),
        "parity": _parity(parity),
    }
    if manifest.get("xla") is not None:
        facts["XLA"] = "yes" if manifest["xla"] else "no"
    if score_summary is not None:
        auc = _figure(score_summary.get("auc"), ".4f")
        scored = f"{auc} on {_figure(score_summary.get('rows'), ',.0f')} rows"
        other = str(score_summary.get("version")) != version or score_summary.get("model") != model
        note = f" (of {score_summary.get('model')}, version {score_summary.get('version')})" if other else ""
        facts["AUC through the server"] = scored + note
    return facts


def machine_facts(url: str) -> dict[str, str]:
    """This machine's; the server's own name and version as it tells them."""
    import tritonclient.grpc as triton

    try:
        with triton.InferenceServerClient(url) as client:
            told = client.get_server_metadata(client_timeout=5.0)
            server = f"{told.name} {told.version} at {url}"
    except triton.InferenceServerException:
        server = f"{UNKNOWN}, at {url}"
    versions = [f"Python {platform.python_version()}"]
    versions += [f"{name} {importlib.metadata.version(name)}" for name in ("tritonclient", "grpcio", "numpy", "locust")]
    return {
        "server": server,
        "processor": f"{_cpu_name()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "client": ", ".join(versions),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _parity(parity: Mapping[str, Any]) -> str:
    if not parity:
        return UNKNOWN
    difference = _figure(parity.get("max_abs_difference"), ".2g")
    return f"eager and SavedModel differ by at most {difference} on {_figure(parity.get('rows'), ',.0f')} rows"


def _section(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = manifest.get(name)
    return section if isinstance(section, Mapping) else {}


def _figure(value: Any, form: str) -> str:
    return UNKNOWN if not isinstance(value, int | float) else format(value, form)
