"""Result rows as text: a Markdown table for people, CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from perf.points import RESULT_COLUMNS, ResultRow

NO_FIGURE = "-"
HEADINGS = (
    "tool", "batch", "load", "requests", "rows/s", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "queue ms", "compute ms",
    "stable",
)  # fmt: skip
TEXT_COLUMNS = ("tool", "load", "stable")


def cells(row: ResultRow) -> list[str]:
    """A row's cells under HEADINGS."""
    stable = {True: "yes", False: "unstable", None: NO_FIGURE}[row.is_stable]
    return [
        row.tool,
        str(row.batch_size),
        row.point.load,
        NO_FIGURE if row.error else f"{row.requests:,}",
        _number(row.rows_per_s, ",.0f"),
        *(_number(ms, ".2f") for ms in (row.p50_ms, row.p90_ms, row.p95_ms, row.p99_ms, row.queue_ms, row.compute_ms)),
        "failed" if row.error else stable,
    ]


def remarks(rows: Sequence[ResultRow]) -> list[str]:
    """Notes and errors, each with its point."""
    return [f"{row.point.name}: {text}" for row in rows for text in (row.note, row.error) if text]


def markdown_facts(facts: Mapping[str, str]) -> str:
    return _markdown(("fact", "value"), [list(item) for item in facts.items()], {"fact", "value"})


def markdown_results(rows: Sequence[ResultRow]) -> str:
    return _markdown(HEADINGS, [cells(row) for row in rows], set(TEXT_COLUMNS))


def csv_text(rows: Sequence[ResultRow]) -> str:
    """Every field as it is, without rounding; empty where there is no figure."""
    text = io.StringIO()
    writer = csv.DictWriter(text, RESULT_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def _number(value: float | None, form: str) -> str:
    return NO_FIGURE if value is None else format(value, form)


def _markdown(headings: Sequence[str], lines: Sequence[Sequence[str]], text_columns: set[str]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(headings, *lines, strict=True)]

    def line(cells_: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if heading in text_columns else cell.rjust(width)
            for heading, cell, width in zip(headings, cells_, widths, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * width if heading in text_columns else "-" * (width - 1) + ":"
        for heading, width in zip(headings, widths, strict=True)
    ]
    return "\n".join([line(headings), f"| {' | '.join(rule)} |", *(line(cells_) for cells_ in lines)])
