"""Result rows and facts -> results.csv and one HTML page that needs no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.output_files import staged_for, writing
from perf.plots import latency_svg, throughput_svg
from perf.points import ResultRow
from perf.tables import HEADINGS, TEXT_COLUMNS, cells, csv_text, remarks

TEMPLATE = Path(__file__).with_name("report.html.j2")


@dataclass(frozen=True)
class Report:
    html: Path
    csv: Path


def write_report(
    folder: Path, rows: Sequence[ResultRow], model: Mapping[str, str], machine: Mapping[str, str], measuring: str
) -> Report:
    """Writes report.html and results.csv, replacing older ones. measuring: a sentence on how it was measured.

    Raises OutputFileError.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    report = Report(folder / "report.html", folder / "results.csv")
    _replace(report.csv, csv_text(rows))
    _replace(report.html, html_text(rows, model, machine, measuring))
    return report


def html_text(rows: Sequence[ResultRow], model: Mapping[str, str], machine: Mapping[str, str], measuring: str) -> str:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        title=f"{model['model']}: measured on Triton",
        model=model,
        machine=machine,
        headings=[(heading, heading in TEXT_COLUMNS) for heading in HEADINGS],
        rows=[(cells(row), "failed" if row.error else "unstable" if row.is_stable is False else "") for row in rows],
        remarks=remarks(rows),
        # made by matplotlib from numbers and our own labels
        throughput=Markup(throughput_svg(rows)),  # noqa: S704
        latency=Markup(latency_svg(rows)),  # noqa: S704
        measuring=measuring,
    )


def _replace(file: Path, text: str) -> None:
    with writing(file):
        staged = staged_for(file)
        staged.write_text(text, encoding="utf-8")
        staged.replace(file)
