"""The versions of a model, from their manifests."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.exported import Exported
from export.live_version import live_version
from export.repository import rejected_versions, versions

HEADS = ("version", "state", "exported", "published by", "how", "test AUC", "dtype", "data", "parity")


def describe(repository: Path, name: str, served: Collection[int] | None) -> dict[str, Any]:
    """served: what the server has ready; None if it was not asked."""
    live = live_version(repository / name)
    return {
        "model": name,
        "live": live,
        "versions": [
            _row(Exported.of_version(repository, name, v), v, live, served) for v in versions(repository / name)
        ],
        "taken_out": [{"version": v, "reason": why} for v, why in rejected_versions(repository / name).items()],
    }


def table(found: Mapping[str, Any]) -> str:
    if not found["versions"]:
        return f"{found['model']}: no version"
    rows = [[_cell(version, head) for head in HEADS] for version in found["versions"]]
    lines = [_line(HEADS), "|" + "---|" * len(HEADS), *(_line(row) for row in rows)]
    lines += [f"taken out: version {t['version']}: {t['reason']}" for t in found["taken_out"]]
    return "\n".join(lines)


def _row(version: Exported, number: int, live: int | None, served: Collection[int] | None) -> dict[str, Any]:
    manifest = version.manifest()
    state = "live" if number == live else "-"
    if served is not None:
        state += ", served" if number in served else ""
    return {
        "version": number,
        "state": state,
        "models": list(version.folders),
        "exported": manifest.get("created"),
        "exported_by": manifest.get("created_by"),
        "published": manifest.get("published"),
        "test_auc": manifest.get("test_metrics", {}).get("auc", manifest.get("metrics", {}).get("test_auc")),
        "dtype": manifest.get("dtype"),
        "data_fingerprint": manifest.get("data_fingerprint"),
        "parity": manifest.get("parity", {}).get("max_abs_difference"),
        "libraries": manifest.get("libraries"),
        "checkpoint": manifest.get("checkpoint"),
    }


def _cell(row: Mapping[str, Any], head: str) -> str:
    published = row["published"] or {}
    values = {
        "published by": published.get("by") or row["exported_by"],
        "how": published.get("how", "export"),
        "test AUC": None if row["test_auc"] is None else f"{row['test_auc']:.6f}",
        "data": (row["data_fingerprint"] or "-")[:12],
        "parity": None if row["parity"] is None else f"{row['parity']:.2g}",
    }
    value = values.get(head, row.get(head))
    return "-" if value is None else str(value)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
