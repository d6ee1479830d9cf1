"""`recserve report`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path),
                help="A training run's results_dir, or its log; each is compared with the first.")  # fmt: skip
@click.option("--output_dir", default=".recserve/report", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for report.html, report.json and the plots; older ones are replaced.")  # fmt: skip
@click.option("--names", default=None, help="What to call the runs, in their order: a,b.  [default: their folders]")
@click.option("--resamples", default=1000, type=click.IntRange(min=2),
              help="Bootstrap resamples behind standard errors and intervals.")  # fmt: skip
@click.option("--seed", default=0, type=click.IntRange(min=0), help="Of the resamples.")
def report(runs: tuple[Path, ...], output_dir: Path, names: str | None, resamples: int, seed: int) -> None:
    """Draw training curves and an ROC curve, and compare training runs.

    Prints Markdown tables and writes PNG plots, one HTML page that needs no other file, and report.json. A run that
    still goes on, or was killed, is reported as far as it got. Runs with test_scores.npz of the same rows are
    compared by a paired bootstrap.

    \b
    Example:
      recserve report results/sim results/dien --names SIM,DIEN
    """
    from training.report.comparison import compare
    from training.report.page import make_folder, write_report
    from training.report.runs import load_runs
    from training.report.tables import tables

    loaded = load_runs(runs, [name.strip() for name in names.split(",")] if names is not None else None)
    make_folder(output_dir)
    comparison = compare(loaded, resamples, seed)
    for table in tables(comparison):
        click.echo(f"**{table.title}**\n\n{table.markdown()}\n" + (f"\n{table.note}\n" if table.note else ""))
    for name, text in comparison.remarks:
        click.echo(f"- {name}: {text}")
    written = write_report(output_dir, comparison)
    click.echo(f"HTML report: {written.html}\nJSON: {written.json}\nplots: {', '.join(map(str, written.plots))}")
