"""`recserve sidecar`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploy.connection_options import connection_options
from deploy.score_file import METRICS

if TYPE_CHECKING:
    from deploy.connection import Connection

FOLDER = click.Path(path_type=Path)
COUNT = click.IntRange(1)
NOT_NEGATIVE = click.FloatRange(0)


class Words(click.ParamType):
    """Options as they are typed: "--lr 0.01 --amp"."""

    name = "options"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(shlex.split(str(value)))
        except ValueError as error:
            self.fail(f"got {value!r}: {error}; expected options as in '--lr 0.01 --amp'", param, ctx)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--data", required=True, type=FOLDER,
    help="Watched folder: each subfolder (or the folder itself) with a feature_spec.yaml is a dataset.",
)  # fmt: skip
@click.option("--model_repository", default="model_repository", type=FOLDER, help="Triton's repository.")
@click.option("--model_name", default="sim", help="Name of the model; <model_name>_rank moves with it.")
@connection_options
@click.option("--state_dir", default=".recserve/sidecar", type=FOLDER, help="Folder for journal, runs and log.")
@click.option(
    "--recipe", default=None, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Recipe for `recserve train`.  [default: none]",
)  # fmt: skip
@click.option("--train_options", default="", type=Words(), help="More options for `recserve train`, in one string.")
@click.option("--export_options", default="", type=Words(), help="Options for `recserve export`, in one string.")
@click.option("--epochs", default=3, type=COUNT, help="Epochs of a training from scratch.")
@click.option("--warm_epochs", default=1, type=COUNT, help="Epochs added to the live version's checkpoint.")
@click.option("--metric", default="auc", type=click.Choice(METRICS), help="Metric of the test rows that decides.")
@click.option(
    "--max_metric_drop", default=0.005, type=NOT_NEGATIVE,
    help="By how much the metric may be worse than the live version's.",
)  # fmt: skip
@click.option(
    "--baseline", default="evaluate", type=click.Choice(["evaluate", "recorded"]),
    help="The live version's metric: its checkpoint on the new test rows, or as recorded with it.",
)  # fmt: skip
@click.option(
    "--held_rows", default=1000, type=COUNT, help="Test rows compared through the server, element by element."
)
@click.option("--keep", default=5, type=COUNT, help="Versions to keep; the live one always stays.")
@click.option(
    "--max_tries", default=3, type=COUNT, help="Tries of a dataset whose training, export or publishing fails."
)
@click.option(
    "--retry_wait_s", default=30.0, type=NOT_NEGATIVE, help="Seconds before the second try; doubled each time."
)
@click.option(
    "--poll_s", default=2.0, type=click.FloatRange(0, min_open=True), help="Seconds between looks at the folder."
)
@click.option(
    "--nice", default=10, type=click.IntRange(0, 19), help="Niceness of training and export; 0 is as the server."
)
@click.option(
    "--stage_timeout_s", default=86400.0, type=click.FloatRange(0, min_open=True),
    help="Seconds after which training, evaluation or export is stopped as failed.",
)  # fmt: skip
@click.option("--metrics_host", default="127.0.0.1", help="Address of /metrics and /healthz. Keep to loopback.")
@click.option("--metrics_port", default=8003, type=click.IntRange(0, 65535), help="Their port; 0 chooses a free one.")
@click.option("--bootstrap", is_flag=True, help="If there is no version and no dataset, generate a small one.")
@click.option("--bootstrap_users", default=2000, type=COUNT, help="Users in the dataset that --bootstrap generates.")
@click.option("--once", is_flag=True, help="End when no dataset is waiting.")
def sidecar(
    model_repository: Path, model_name: str, connection: Connection, state_dir: Path, metrics_host: str,
    metrics_port: int, once: bool, **options: Any,
) -> None:  # fmt: skip
    """Train on each new dataset, and publish what is not worse.

    A dataset is complete when its feature_spec.yaml is renamed into place. The side-car trains (from the live version's
    checkpoint if the specification fits, else from scratch), compares the test metric with the live version's, exports,
    loads the version through Triton's repository API, scores held rows through the server and compares them with
    training's scores, element by element. If a step fails, the version before is served, and the reason is in
    <state_dir>/decisions.json. A kill at any point loses nothing. The server needs --model_control_mode explicit.
    """
    from client.termination import termination_as_exit
    from deploy.server_admin import ServerAdmin
    from deploy.sidecar.children import Children
    from deploy.sidecar.endpoint import serving
    from deploy.sidecar.journal import only_one
    from deploy.sidecar.loop import Sidecar
    from deploy.sidecar.metrics import Metrics
    from deploy.sidecar.settings import SidecarSettings

    settings = SidecarSettings(
        repository=model_repository.resolve(), name=model_name, connection=connection, state=state_dir.resolve(),
        **{**options, "data": options["data"].resolve()},
    )  # fmt: skip
    metrics = Metrics()
    with (
        termination_as_exit(),
        only_one(settings.state),
        serving(metrics, metrics_host, metrics_port) as port,
        ServerAdmin(settings.connection) as admin,
    ):
        say(
            f"watches {settings.data}, publishes to {settings.repository}, metrics at http://{metrics_host}:{port}/metrics"
        )
        run = Children(settings.nice, settings.stage_timeout_s, metrics.tick)
        _loop(Sidecar(settings, admin, metrics, run, say), settings.poll_s, once)


def _loop(car: Any, poll_s: float, once: bool) -> None:
    import time

    car.start()
    while True:
        worked = car.step()
        if once and not worked and car.is_done:
            return
        if not worked:
            time.sleep(poll_s)


def say(message: str) -> None:
    click.echo(f"sidecar: {message}", err=True)
