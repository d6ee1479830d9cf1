"""`recserve export`."""

from __future__ import annotations

import os
from pathlib import Path

import click

FOLDER = click.Path(path_type=Path)
NOT_NEGATIVE = click.IntRange(0)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--checkpoint",
    required=True,
    type=FOLDER,
    help="Checkpoint of `recserve train`: one epoch, or the folder of all: then the best, else the newest.",
)
@click.option(
    "--model_repository", default="model_repository", type=FOLDER, help="Triton's repository; made if missing."
)
@click.option("--model_name", default="sim", help="Name of the model in the repository.")
@click.option("--xla/--no_xla", default=False, help="Compile the served graph with XLA. Turns dynamic batching off.")
@click.option("--max_batch_size", default=1024, type=click.IntRange(1), help="Rows of a request and a merged batch.")
@click.option("--instances", default=os.cpu_count() or 1, type=click.IntRange(1), help="Executions at once.")
@click.option("--max_queue_delay_us", default=0, type=NOT_NEGATIVE, help="Microseconds to wait for requests to merge.")
@click.option("--intra_op_threads", default=1, type=NOT_NEGATIVE, help="TensorFlow intra-op threads; 0: all cores.")
@click.option("--inter_op_threads", default=1, type=NOT_NEGATIVE, help="TensorFlow inter-op threads; 0: all cores.")
@click.option("--parity_rows", default=256, type=click.IntRange(2), help="Rows scored both ways before publishing.")
def export(
    checkpoint: Path,
    model_repository: Path,
    model_name: str,
    xla: bool,
    max_batch_size: int,
    instances: int,
    max_queue_delay_us: int,
    intra_op_threads: int,
    inter_op_threads: int,
    parity_rows: int,
) -> None:
    """Publish a checkpoint as the next version of a model.

    Writes <model_repository>/<model_name>/<version>/model.savedmodel with a signature from the checkpoint's
    feature_spec.yaml, and config.pbtxt. Before it publishes, it scores rows eagerly and through the SavedModel
    and compares them; if they differ by more than 1e-5, or anything else fails, the repository stays as it was.
    """
    from export.saved_model import export_checkpoint
    from export.triton_config import ServingOptions

    options = ServingOptions(
        max_batch_size=max_batch_size,
        instances=instances,
        dynamic_batching=not xla,
        max_queue_delay_us=max_queue_delay_us,
        intra_op_threads=intra_op_threads,
        inter_op_threads=inter_op_threads,
    )
    exported = export_checkpoint(checkpoint, model_repository, model_name, options, xla, parity_rows)
    click.echo(f"published {exported.folder}")
    click.echo(
        f"parity: eager and SavedModel agree on {exported.parity.rows} rows, "
        f"largest difference {exported.parity.max_abs_difference:.2g}"
    )
