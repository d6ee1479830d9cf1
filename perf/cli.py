"""`recserve sweep`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from client.tls_options import tls_options

if TYPE_CHECKING:
    from client.tls import TlsFiles
    from perf.points import ResultRow
    from perf.sweep import SweepSettings


class NumberList(click.ParamType):
    """Numbers above 0, separated by commas; empty is none."""

    name = "list"

    def __init__(self, number: Callable[[str], float]) -> None:
        self._number = number

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[float]:
        if not isinstance(value, str):
            return list(value)
        try:
            numbers = [self._number(piece) for piece in value.split(",") if piece.strip()]
        except ValueError:
            self.fail(f"got {value!r}; expected numbers separated by commas, such as 1,16,64", param, ctx)
        if any(not number > 0 for number in numbers):
            self.fail(f"got {value!r}; expected numbers above 0", param, ctx)
        return numbers


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--model_repository", default="model_repository", type=click.Path(path_type=Path),
              help="What the server serves; feature_spec.yaml and manifest.json are read from it.")  # fmt: skip
@click.option("--model", default="sim", help="Name of the model in the server.")
@click.option("--model_version", default="latest", help="Version number, or `latest`: the newest served.")
@click.option("--url", default="127.0.0.1:8001", help="gRPC address of the server, host:port.")
@tls_options
@click.option("--admin_secret_file", default=None, type=click.Path(path_type=Path),
              help="File with the secret of `serve --admin_secret_file`: perf_analyzer reads statistics.")  # fmt: skip
@click.option("--batch_sizes", default="1,16,64", type=NumberList(int), help="Rows of a request.")
@click.option("--concurrencies", default="1,4", type=NumberList(int), help="Requests in flight, for each batch size.")
@click.option("--request_rates", default="", type=NumberList(float),
              help="Also an open loop: requests per second at Poisson times, for each batch size.")  # fmt: skip
@click.option("--measure_s", default=4.5, type=click.FloatRange(0, min_open=True),
              help="Seconds to measure a point, about; three windows of at least one second.")  # fmt: skip
@click.option("--requests_per_point", default=None, type=click.IntRange(1),
              help="Measure so many requests of a point instead.  [default: by --measure_s]")  # fmt: skip
@click.option("--warmup_s", default=1.0, type=click.FloatRange(0), help="Seconds of load before each point.")
@click.option("--stable_percent", default=10.0, type=click.FloatRange(0, min_open=True),
              help="A point is stable if its windows differ by no more, in throughput and mean latency.")  # fmt: skip
@click.option("--point_timeout_s", default=120.0, type=click.FloatRange(1), help="Seconds until a point is given up.")
@click.option("--locust_users", default=4, type=click.IntRange(1), help="Users that score without a pause.")
@click.option("--locust_batch_size", default=16, type=click.IntRange(1), help="Rows of a user's request.")
@click.option(
    "--locust_time_s", default=10.0, type=click.FloatRange(0), help="Seconds to measure locust; 0: no locust."
)
@click.option("--seed", default=0, help="Of the random payload.")
@click.option("--score_summary", default=None, type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="--summary_file of `recserve score`, for the AUC through the server.")  # fmt: skip
@click.option("--perf_analyzer", default=None, type=click.Path(path_type=Path),
              help="Its binary.  [default: RECSERVE_PERF_ANALYZER, the tool folder, PATH]")  # fmt: skip
@click.option("--output_dir", default=".recserve/sweep", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for report.html and results.csv; older ones are replaced.")  # fmt: skip
def sweep(
    model_repository: Path,
    model: str,
    model_version: str,
    url: str,
    tls: TlsFiles | None,
    admin_secret_file: Path | None,
    batch_sizes: list[int],
    concurrencies: list[int],
    request_rates: list[float],
    measure_s: float,
    requests_per_point: int | None,
    warmup_s: float,
    stable_percent: float,
    point_timeout_s: float,
    locust_users: int,
    locust_batch_size: int,
    locust_time_s: float,
    seed: int,
    score_summary: Path | None,
    perf_analyzer: Path | None,
    output_dir: Path,
) -> None:
    """Measure a served model: perf_analyzer over batch size × concurrency, then locust.

    Prints the facts of the version and one table, and writes an HTML report and a CSV. Needs a running server
    (`recserve serve`). A point that fails does not lose the others; the command then ends with code 1. Interrupted, it
    still reports the points that it has.
    """
    from client.admin import admin_header
    from client.termination import termination_as_exit
    from perf.analyzer import find_perf_analyzer
    from perf.errors import MeasureError, PointFailed
    from perf.facts import model_facts, read_json
    from perf.points import LOCUST, Point, grid
    from perf.served import find_served
    from perf.sweep import SweepSettings, run_sweep
    from perf.work_folder import work_folder

    header = admin_header(admin_secret_file) if admin_secret_file else None
    points = grid(batch_sizes, concurrencies, request_rates)
    binary = find_perf_analyzer(perf_analyzer) if points else None
    if locust_time_s:
        points.append(Point(LOCUST, locust_batch_size, locust_users))
    if not points:
        raise MeasureError("nothing to measure: give batch sizes with concurrencies or rates, or a time for locust")
    summary = read_json(score_summary) if score_summary else None
    rows: list[ResultRow] = []
    with termination_as_exit(), work_folder(output_dir) as work_dir:
        served = find_served(url, model, "" if model_version == "latest" else model_version, model_repository, tls)
        settings = SweepSettings(
            url, model, served.version, served.spec_file, measure_s, requests_per_point, warmup_s, stable_percent,
            point_timeout_s, locust_time_s, seed, tls, header,
        )  # fmt: skip
        facts = model_facts(model, served.version, served.manifest, summary)
        try:
            for row in run_sweep(points, settings, binary, work_dir, _say):
                rows.append(row)
        except (KeyboardInterrupt, SystemExit):
            _say(f"interrupted; {len(rows)} of {len(points)} points are measured")
            if rows:
                _report(output_dir, rows, facts, settings)
            raise
        _report(output_dir, rows, facts, settings)
    failed = [row for row in rows if row.error]
    if failed:
        names = "; ".join(row.point.name for row in failed)
        raise PointFailed(f"{len(failed)} of {len(rows)} points failed: {names}. The reasons are above.")


def _say(line: str) -> None:
    click.echo(line, err=True)


def _report(output_dir: Path, rows: list[ResultRow], facts: dict[str, str], settings: SweepSettings) -> None:
    """The table first: it is not lost if the files cannot be written."""
    from perf.facts import machine_facts
    from perf.report import write_report
    from perf.tables import markdown_facts, markdown_results, remarks

    click.echo(markdown_facts(facts) + "\n")
    click.echo(markdown_results(rows) + "\n")
    for remark in remarks(rows):
        click.echo(f"- {remark}")
    report = write_report(output_dir, rows, facts, machine_facts(settings.url), settings.in_words())
    click.echo(f"HTML report: {report.html}\nCSV: {report.csv}")
