"""`recserve rank`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from client.tls_options import tls_options

if TYPE_CHECKING:
    from client.rank_run import RankSummary
    from client.tls import TlsFiles


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="Users, one a row: feature_spec.yaml or its folder, or a .parquet, .jsonl or .tfrecord file or folder.",
)
@click.option(
    "--candidates",
    default=None,
    type=click.Path(path_type=Path),
    help="Items to rank for every user, one a row: a file as above.  [default: lists in the users' rows]",
)
@click.option(
    "--output_file",
    required=True,
    type=click.Path(path_type=Path),
    help="The best candidates of each user, best first: .csv, .parquet or .jsonl.",
)
@click.option("--top", default=10, type=click.IntRange(0), help="Candidates to write for each user; 0: all.")
@click.option("--mapping", default="test", help="Which rows of a feature_spec.yaml; or the subfolder of part files.")
@click.option(
    "--feature_spec",
    default=None,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="For data files alone: names Parquet columns in their order.",
)
@click.option("--url", default="127.0.0.1:8001", help="gRPC address of the server, host:port.")
@tls_options
@click.option("--model", default="sim_rank", help="Name of the rank model in the server.")
@click.option("--model_version", default="latest", help="Version number, or `latest`.")
@click.option(
    "--candidates_per_request", default=2000, type=click.IntRange(1), help="Candidates of one request; more are split."
)
@click.option("--in_flight", default=4, type=click.IntRange(1), help="Requests on their way at the same time.")
@click.option(
    "--deadline_s",
    default=30.0,
    type=click.FloatRange(0, min_open=True),
    help="Seconds for one request, its retries included.",
)
@click.option("--limit", default=None, type=click.IntRange(1), help="Rank for only so many users.  [default: all]")
def rank(
    data: Path,
    candidates: Path | None,
    output_file: Path,
    top: int,
    mapping: str,
    feature_spec: Path | None,
    url: str,
    tls: TlsFiles | None,
    model: str,
    model_version: str,
    candidates_per_request: int,
    in_flight: int,
    deadline_s: float,
    limit: int | None,
) -> None:
    """Rank many candidates for each user over gRPC.

    Sends a user's features and history once, with all candidates. Writes for each user the best ones, sorted: the
    user's row in the data (from 1) and features, the rank (from 1), the candidate's features, and its scores.
    Ids that the model does not know are scored as padding; they are no error.
    """
    from client import GrpcTransport, Scorer
    from client.locate import open_rows
    from client.rank_run import rank_users
    from client.score_files import ScoreFile
    from client.termination import termination_as_exit

    users = open_rows(data, mapping, feature_spec)
    catalogue = open_rows(candidates) if candidates else None
    scorer = Scorer(
        GrpcTransport(url, tls), model, "" if model_version == "latest" else model_version,
        in_flight=in_flight, candidates_per_request=candidates_per_request, deadline_s=deadline_s,
    )  # fmt: skip
    with termination_as_exit(), scorer, ScoreFile(output_file) as rows:
        summary = rank_users(scorer.pinned(), users, catalogue, rows, top or None, limit)
    click.echo(_rank_text(summary, url, output_file))


def _rank_text(summary: RankSummary, url: str, output_file: Path) -> str:
    rate = summary.candidates / max(summary.seconds, 1e-9)
    lines = {
        "model": f"{summary.model}, version {summary.version}, at {url}",
        "users": f"{summary.users:,}, with {summary.candidates:,} candidates",
        "time": f"{summary.seconds:.2f} s, {rate:,.0f} candidates/s, reading included",
        "ranking": str(output_file),
    }
    return "\n".join(f"{name:<10}{value}" for name, value in lines.items())
