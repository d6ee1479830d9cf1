"""`recserve versions`: list, publish, roll back and prune by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploy.connection_options import connection_options

if TYPE_CHECKING:
    from deploy.connection import Connection
    from deploy.publication import Publisher

CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True}
FOLDER = click.Path(path_type=Path)
LOG_FILE = ".decisions.json"

_repository = click.option("--model_repository", default="model_repository", type=FOLDER, help="Triton's repository.")
_name = click.option("--model_name", default="sim", help="Name of the model; <model_name>_rank moves with it.")
_wait = click.option(
    "--server_timeout_s", default=60.0, type=click.FloatRange(0), help="Seconds to wait for a server that is down."
)


def _of_a_model(command: Callable[..., Any]) -> Callable[..., Any]:
    return _repository(_name(command))


@click.group(context_settings=CONTEXT)
def versions() -> None:
    """List, publish, roll back and prune the versions of a model.

    The commands that change what is served talk to Triton's repository API; the server needs --model_control_mode
    explicit. Each change is a line in <model_repository>/.decisions.json: who, when, what and why.
    """


@versions.command("list", context_settings=CONTEXT)
@_of_a_model
@click.option("--ask_server", is_flag=True, help="Ask the server at --url too which versions it serves.")
@connection_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def list_versions(
    model_repository: Path, model_name: str, ask_server: bool, connection: Connection, as_json: bool
) -> None:  # fmt: skip
    """Show the versions, oldest first: which one is live, who made it when, from which data, how good it is."""
    from deploy.server_admin import ServerAdmin
    from deploy.versions_table import describe, table

    served = None
    if ask_server:
        with ServerAdmin(connection) as admin:
            served = admin.ready_versions(model_name)
    found = describe(model_repository, model_name, served)
    if as_json:
        import json

        click.echo(json.dumps(found, indent=2))
    else:
        click.echo(table(found))


@versions.command(context_settings=CONTEXT)
@_of_a_model
@connection_options
@_wait
@click.option("--checkpoint", default=None, type=FOLDER, help="Export this checkpoint of `recserve train` first.")
@click.option("--exported", default=None, type=FOLDER, help="Or take the newest version of this model repository.")
@click.option("--export_options", default="", help="With --checkpoint: options for `recserve export`, in one string.")
@click.option("--data", default=None, type=FOLDER, help="Dataset whose test rows are compared; needs --scores.")
@click.option("--scores", default=None, type=FOLDER, help="test_scores.npz of the training run on that dataset.")
@click.option("--held_rows", default=1000, type=click.IntRange(1), help="Test rows to compare, element by element.")
@click.option("--reason", default="by hand", help="For the record.")
def publish(
    model_repository: Path, model_name: str, connection: Connection, server_timeout_s: float, checkpoint: Path | None,
    exported: Path | None, export_options: str, data: Path | None, scores: Path | None, held_rows: int, reason: str,
) -> None:  # fmt: skip
    """Publish a checkpoint, or a version exported elsewhere, and load it.

    It is tried under the name <model_name>_candidate first. With --data and --scores, held rows are compared with
    training's scores, before and after users' requests reach it; without, it must score a row of padding. If a step
    fails, the version before goes on serving.
    """
    from deploy.publish_by_hand import exported_version

    if (checkpoint is None) == (exported is None):
        raise click.UsageError("expected --checkpoint or --exported; give one of them.")
    if (data is None) != (scores is None):
        raise click.UsageError("--data and --scores belong together; give both, or none.")
    with (
        exported_version(checkpoint, exported, model_name, export_options, data, scores, held_rows) as found,
        _publisher(model_repository, model_name, connection, server_timeout_s) as publisher,
        _recorded(model_repository, "published", reason) as facts,
    ):
        previous = publisher.live
        version, verified = publisher.publish(found, "versions publish", {})
        facts |= {"version": version, "previous": previous, "held_rows": verified.rows + verified.rank_rows}
        facts["max_difference"] = verified.max_difference
    compared = f"{verified.rows} held rows compared" if verified.rows else "scored a row of padding"
    click.echo(f"published version {version}, {compared}, largest difference {verified.max_difference:.2g}")
    click.echo(f"before: {'none' if previous is None else f'version {previous}'}")


@versions.command(context_settings=CONTEXT)
@_of_a_model
@connection_options
@_wait
@click.option("--to", default=None, type=click.IntRange(1), help="Version to serve.  [default: the one before]")
@click.option("--reason", default="by hand", help="For the record.")
def rollback(
    model_repository: Path,
    model_name: str,
    connection: Connection,
    server_timeout_s: float,
    to: int | None,
    reason: str,
) -> None:
    """Serve an older version, until the next one is published."""
    with (
        _publisher(model_repository, model_name, connection, server_timeout_s) as publisher,
        _recorded(model_repository, "rolled_back", reason) as facts,
    ):
        before, now = publisher.roll_back(to)
        facts |= {"version": now, "previous": before}
    click.echo(f"serves version {now} instead of {before}")


@versions.command(context_settings=CONTEXT)
@_of_a_model
@click.option("--keep", default=5, type=click.IntRange(1), help="Newest versions to keep; the live one always stays.")
def prune(model_repository: Path, model_name: str, keep: int) -> None:
    """Remove old versions from the disk. Needs no server."""
    from deploy.exported import RANK
    from export.repository import prune as remove_old
    from export.repository import versions as numbers
    from export.repository_lock import locked

    with locked(model_repository), _recorded(model_repository, "pruned", f"keeps {keep}") as facts:
        names = [n for n in (model_name, model_name + RANK) if numbers(model_repository / n)]
        gone = remove_old(model_repository, names, keep) if names else []
        facts["versions"] = gone
    click.echo(f"removed {', '.join(map(str, gone)) or 'nothing'}")


@contextmanager
def _publisher(
    repository: Path, name: str, connection: Connection, timeout_s: float
) -> Iterator[Publisher]:  # fmt: skip
    from deploy.patience import Patience
    from deploy.publication import Publisher
    from deploy.server_admin import ServerAdmin

    patience = Patience(timeout_s, on_wait=lambda reason: click.echo(f"waiting: {reason}", err=True))
    with ServerAdmin(connection) as admin:
        yield Publisher(repository, name, connection, admin, patience)


@contextmanager
def _recorded(repository: Path, decision: str, reason: str) -> Iterator[dict[str, Any]]:
    """The decision with the facts that are put into it; an error as a decision of its own."""
    from deploy.decisions import DecisionLog

    log, facts = DecisionLog(repository / LOG_FILE), dict[str, Any]()
    try:
        yield facts
    except Exception as error:
        log.record("failed", wanted=decision, reason=f"{reason}: {error}", kind=getattr(error, "kind", "error"))
        raise
    log.record(decision, reason=reason, **facts)
