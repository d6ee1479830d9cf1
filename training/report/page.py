"""The report's files: report.html, which needs no other file, its plots as PNG, and report.json."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.report.comparison import Comparison
from training.report.errors import ReportError
from training.report.plots import plots, shown_width
from training.report.tables import all_settings_table, tables

TEMPLATE = Path(__file__).with_name("report.html.j2")
# file -> title, description, whether it takes the page's whole width
FIGURES = {
    "loss.png": ("Loss terms", "Loss terms of each training step, and their moving mean", True),
    "auc.png": ("ROC AUC by epoch", "ROC AUC after each epoch on each part of the data", True),
    "throughput.png": ("Throughput", "Samples per second of each training step, and their moving mean", False),
    "roc.png": ("ROC curve of the test rows", "True against false positive rate of the test scores", False),
}


@dataclass(frozen=True)
class Report:
    html: Path
    json: Path
    plots: list[Path]


def make_folder(folder: Path) -> None:
    """Before anything is computed. Raises ReportError if it cannot be written."""
    probe = folder / f".{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _unwritable(folder, error) from error


def write_report(folder: Path, comparison: Comparison) -> Report:
    """Replaces the files of an older report, and removes its plots that this one does not have.

    Raises ReportError.
    """
    images = plots(comparison.runs)
    report = Report(folder / "report.html", folder / "report.json", [folder / name for name in images])
    try:
        for name in FIGURES:
            if name in images:
                _replace(folder / name, images[name])
            else:
                (folder / name).unlink(missing_ok=True)
        _replace(report.json, (json.dumps(figures_json(comparison), indent=2, allow_nan=False) + "\n").encode())
        _replace(report.html, html_text(comparison, images).encode())
    except OSError as error:
        raise _unwritable(folder, error) from error
    return report


def html_text(comparison: Comparison, images: Mapping[str, bytes]) -> str:
    from jinja2 import Environment, StrictUndefined

    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(TEMPLATE.read_text(encoding="utf-8"))
    made = [
        (*FIGURES[name], shown_width(images[name]), base64.b64encode(images[name]).decode())
        for name in FIGURES
        if name in images
    ]
    names = [r.run.name for r in comparison.runs]
    return template.render(
        title=f"Training report: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}",
        count=len(names),
        tables=tables(comparison),
        figures=made,
        all_settings=all_settings_table(comparison),
        remarks=comparison.remarks,
    )


def figures_json(comparison: Comparison) -> dict[str, Any]:
    """All figures of the report but the curves, as plain data; what is not known is null."""
    plain = {
        "resamples": comparison.resamples,
        "seed": comparison.seed,
        "runs": [
            {
                "name": r.run.name,
                "log": str(r.run.log_path),
                "model": r.run.log.parameters.get("model_type"),
                "finished": r.run.log.finished,
                "parameters": r.run.log.parameters,
                "epochs": [{"epoch": epoch, **figures} for epoch, figures in r.run.log.epochs.items()],
                "final": r.final,
                "samples_per_s": r.throughput,
                "seconds": r.seconds,
                "steps": len(r.run.log.steps),
                "test_scores": dataclasses.asdict(r.scores) if r.scores else None,
            }
            for r in comparison.runs
        ],
        "differences": [
            {
                "run": d.name,
                "to": d.to,
                **(dataclasses.asdict(d.result) if d.result else {"difference": None, "reason": d.reason}),
            }
            for d in comparison.differences
        ],
        "settings_that_differ": comparison.settings,
        "remarks": [{"run": name, "remark": text} for name, text in comparison.remarks],
    }
    without_nan: dict[str, Any] = _without_nan(plain)
    return without_nan


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _replace(file: Path, content: bytes) -> None:
    staged = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        staged.write_bytes(content)
        staged.replace(file)
    finally:
        staged.unlink(missing_ok=True)


def _unwritable(folder: Path, error: OSError) -> ReportError:
    return ReportError(
        f"output_dir: {folder} cannot be written: {error.strerror or error}. Name a folder that you may write to, with "
        "room left."
    )
