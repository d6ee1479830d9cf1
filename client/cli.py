"""`recserve score`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from client.tls_options import tls_options

if TYPE_CHECKING:
    from client.score_run import ScoreSummary
    from client.tls import TlsFiles


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", required=True, type=click.Path(path_type=Path),
              help="feature_spec.yaml or its folder, or a .tfrecord, .parquet or .jsonl file or folder.")  # fmt: skip
@click.option("--mapping", default="test", help="Which rows of a feature_spec.yaml; or the subfolder of part files.")
@click.option("--feature_spec", default=None, type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="For data files alone: names the label, and Parquet columns in their order.")  # fmt: skip
@click.option("--url", default="127.0.0.1:8001", help="gRPC address of the server, host:port.")
@tls_options
@click.option("--model", default="sim", help="Name of the model in the server.")
@click.option("--model_version", default="latest", help="Version number, or `latest`.")
@click.option("--output_file", default=None, type=click.Path(path_type=Path),
              help="Scores in the order of the rows: .csv, .parquet or .jsonl.")  # fmt: skip
@click.option("--summary_file", default=None, type=click.Path(path_type=Path), help="The printed summary as JSON.")
@click.option("--batch_size", default=None, type=click.IntRange(1),
              help="Rows of one request.  [default: the server's max_batch_size, which also bounds it]")  # fmt: skip
@click.option("--in_flight", default=4, type=click.IntRange(1), help="Requests on their way at the same time.")
@click.option("--deadline_s", default=30.0, type=click.FloatRange(0, min_open=True),
              help="Seconds for one request, its retries included.")  # fmt: skip
@click.option("--limit", default=None, type=click.IntRange(1), help="Score only so many rows.  [default: all]")
def score(
    data: Path,
    mapping: str,
    feature_spec: Path | None,
    url: str,
    tls: TlsFiles | None,
    model: str,
    model_version: str,
    output_file: Path | None,
    summary_file: Path | None,
    batch_size: int | None,
    in_flight: int,
    deadline_s: float,
    limit: int | None,
) -> None:
    """Score the rows of a dataset over gRPC.

    Sends the features that the server's model names, and nothing else. Where the data has labels, prints the exact
    ROC AUC and log loss of the answers. Ids that the model does not know are scored as padding; they are no error.
    """
    from contextlib import nullcontext

    from client import GrpcTransport, Scorer
    from client.locate import open_rows
    from client.output_files import check_writable
    from client.score_files import ScoreFile
    from client.score_run import score_rows
    from client.termination import termination_as_exit

    source = open_rows(data, mapping, feature_spec)
    scores = ScoreFile(output_file) if output_file else None
    if summary_file:
        check_writable(summary_file)
    version = "" if model_version == "latest" else model_version
    transport = GrpcTransport(url, tls)
    with (
        termination_as_exit(),
        Scorer(transport, model, version, batch_size=batch_size, in_flight=in_flight, deadline_s=deadline_s) as scorer,
        scores or nullcontext(),
    ):
        summary = score_rows(scorer.pinned(), source, scores, limit)
    click.echo(_text(summary, url, output_file))
    if summary_file:
        _write_json(summary_file, summary)


def _text(summary: ScoreSummary, url: str, output_file: Path | None) -> str:
    def metric(value: float | None) -> str:
        return "-" if value is None else f"{value:.6f}"

    lines = {
        "model": f"{summary.model}, version {summary.version}, at {url}",
        "rows": f"{summary.rows:,}",
        "ROC AUC": metric(summary.auc),
        "log loss": metric(summary.log_loss),
        "time": f"{summary.seconds:.2f} s, {summary.rows_per_s:,.0f} rows/s, reading included",
    }
    if summary.log_loss is None:
        lines["ROC AUC"] = lines["log loss"] = "- (no label in the data)"
    if output_file:
        lines["scores"] = str(output_file)
    return "\n".join(f"{name:<10}{value}" for name, value in lines.items())


def _write_json(file: Path, summary: ScoreSummary) -> None:
    import json

    from client.output_files import staged_for, writing

    text = json.dumps(summary.to_dict(), indent=2, allow_nan=False)
    with writing(file):
        staged = staged_for(file)
        staged.write_text(text + "\n", encoding="utf-8")
        staged.replace(file)
