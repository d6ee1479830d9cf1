"""The figures as tables, for Markdown and HTML alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.report.comparison import Comparison, RunFigures
from training.report.score_file import FILE_NAME

NO_FIGURE = "-"
EPOCH_COLUMNS = {
    "train AUC": ("train_auc", ".4f"),
    "train loss": ("train_loss", ".4f"),
    "validation AUC": ("validation_auc", ".4f"),
    "validation GAUC": ("validation_gauc", ".4f"),
    "validation loss": ("validation_loss", ".4f"),
    "test AUC": ("test_auc", ".4f"),
    "test GAUC": ("test_gauc", ".4f"),
    "test loss": ("test_loss", ".4f"),
    "samples/s": ("throughput", ",.0f"),
    "time s": ("time", ",.1f"),
}


@dataclass(frozen=True)
class Table:
    """text_columns: how many columns, from the left, hold text; the others are aligned to the right."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    text_columns: int = 1
    note: str = ""

    def markdown(self) -> str:
        lines = [[cell.replace("|", "\\|") for cell in line] for line in (self.headings, *self.rows)]
        widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
        rule = ["-" * w if index < self.text_columns else "-" * (w - 1) + ":" for index, w in enumerate(widths)]
        padded = [
            [
                c.ljust(w) if i < self.text_columns else c.rjust(w)
                for i, (c, w) in enumerate(zip(line, widths, strict=True))
            ]
            for line in lines
        ]
        return "\n".join(f"| {' | '.join(line)} |" for line in (padded[0], rule, *padded[1:]))


def tables(comparison: Comparison) -> list[Table]:
    """Those that have rows, in the order of the report."""
    made = [runs_table(comparison), differences_table(comparison), epochs_table(comparison), settings_table(comparison)]
    return [table for table in made if table.rows]


def runs_table(comparison: Comparison) -> Table:
    """One line per run."""
    runs = comparison.runs
    columns = {
        "run": [r.run.name for r in runs],
        "model": [r.run.model for r in runs],
        "finished": ["yes" if r.run.log.finished else "no" for r in runs],
        "epochs": [str(r.epochs or NO_FIGURE) for r in runs],
        "train AUC": _finals(runs, "train_auc"),
        "validation AUC": _finals(runs, "validation_auc"),
        "tested at epoch": [_tested_at(r) for r in runs],
        "test AUC": _finals(runs, "test_auc"),
        "± s.e.": [_number(r.scores.auc_standard_error if r.scores else None, ".4f") for r in runs],
        "test GAUC": _finals(runs, "test_gauc"),
        "test loss": _finals(runs, "test_loss"),
        "samples/s": [_number(r.throughput, ",.0f") for r in runs],
        "time s": [_number(r.seconds, ",.1f") for r in runs],
    }
    drawn = sorted({"rows" if r.scores.users is None else "users" for r in runs if r.scores})
    note = (
        f"s.e.: standard error of the AUC of {FILE_NAME} over {comparison.resamples:,} bootstrap resamples of "
        f"{' or '.join(drawn)} (seed {comparison.seed})."
    )
    rows = [list(cells) for cells in zip(*columns.values(), strict=True)]
    return _without_empty(Table("Runs", list(columns), rows, 3, note if drawn else ""), keep=4)


def differences_table(comparison: Comparison) -> Table:
    headings = ["run", "verdict", "difference", "95 % from", "95 % to", "s.e."]
    rows = []
    for d in comparison.differences:
        if d.result is None:
            rows.append([d.name, d.reason, *[NO_FIGURE] * 4])
            continue
        side = "higher" if d.result.difference > 0 else "lower"
        verdict = side if d.result.excludes_zero else "not told apart"
        figures = (d.result.difference, d.result.low, d.result.high)
        rows.append([d.name, verdict, *(_number(f, "+.4f") for f in figures), _number(d.result.standard_error, ".4f")])
    to = comparison.differences[0].to if comparison.differences else ""
    note = (
        f"Test AUC less that of {to} on the same rows; interval over {comparison.resamples:,} paired bootstrap "
        "resamples (of users where they are known). It tells how far the test rows decide, not what another seed of "
        "training would give."
    )
    return Table(f"Difference in test AUC to {to}", headings, rows, 2, note)


def epochs_table(comparison: Comparison) -> Table:
    rows = [
        [r.run.name, str(epoch), *(_number(figures.get(metric), form) for metric, form in EPOCH_COLUMNS.values())]
        for r in comparison.runs
        for epoch, figures in r.run.log.epochs.items()
    ]
    return _without_empty(Table("Epochs", ["run", "epoch", *EPOCH_COLUMNS], rows), keep=2)


def settings_table(comparison: Comparison) -> Table:
    rows = [[name, *map(_setting, values)] for name, values in comparison.settings.items()]
    names = [r.run.name for r in comparison.runs]
    return Table("Settings that differ", ["setting", *names], rows, 1 + len(names))


def all_settings_table(comparison: Comparison) -> Table:
    """Every parameter of every run, as logged."""
    logged = [r.run.log.parameters for r in comparison.runs]
    names = dict.fromkeys(name for parameters in logged for name in parameters)
    rows = [[name, *(_setting(parameters.get(name)) for parameters in logged)] for name in names]
    return Table("All settings", ["setting", *(r.run.name for r in comparison.runs)], rows, 1 + len(logged))


def _finals(runs: Sequence[RunFigures], metric: str) -> list[str]:
    return [_number(r.final.get(metric), ".4f") for r in runs]


def _tested_at(figures: RunFigures) -> str:
    """The epoch of the test figures, where it is not the last one."""
    epoch = figures.scores.epoch if figures.scores else None
    return NO_FIGURE if epoch in (None, figures.epochs) else str(epoch)


def _number(value: float | None, form: str) -> str:
    return NO_FIGURE if value is None or math.isnan(value) else format(value, form)


def _setting(value: Any) -> str:
    return NO_FIGURE if value is None or value == "" else str(value)


def _without_empty(table: Table, keep: int) -> Table:
    """Leaves out the columns, after the first `keep`, that have a figure in no row."""
    filled = [
        index < keep or any(row[index] != NO_FIGURE for row in table.rows) for index in range(len(table.headings))
    ]
    headings, *rows = [
        [cell for cell, kept in zip(line, filled, strict=True) if kept] for line in (table.headings, *table.rows)
    ]
    return Table(table.title, headings, rows, table.text_columns, table.note)
