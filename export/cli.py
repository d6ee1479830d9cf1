"""`recserve export`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from export.saved_model import Exported

FOLDER = click.Path(path_type=Path)
NOT_NEGATIVE = click.IntRange(0)


class BatchSizes(click.ParamType):
    """Ascending batch sizes: 1,16,64."""

    name = "sizes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            sizes = tuple(int(size) for size in str(value).split(","))
        except ValueError:
            sizes = ()
        if not sizes or sizes[0] < 1 or list(sizes) != sorted(set(sizes)):
            self.fail(f"got {value!r}; expected ascending batch sizes from 1, as in 1,16,64", param, ctx)
        return sizes


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
@click.option("--rank/--no_rank", default=True, help="Publish <model_name>_rank too: many candidates for each user.")
@click.option(
    "--xla/--no_xla",
    default=False,
    help="Compile the pointwise graph with XLA. Turns dynamic batching off, unless there are --buckets.",
)
@click.option("--amp/--no_amp", default=False, help="Compute in bfloat16; prints what that costs in accuracy.")
@click.option(
    "--tf_trt",
    default=None,
    type=click.Choice(["FP32", "FP16"]),
    help="Convert the pointwise graph by TF-TRT to engines of this precision; needs an NVIDIA GPU.  [default: not]",
)
@click.option(
    "--tf_trt_batch_size",
    default=None,
    type=click.IntRange(1),
    help="Largest batch of the engines, rows.  [default: max_batch_size]",
)
@click.option(
    "--cpu_kernels/--no_cpu_kernels",
    default=True,
    help="Add a second graph, of recserve's compiled CPU kernels, which our backend serves instead where they run; no "
    "other program sees it. Needs `make kernels`. Not with --xla or --tf_trt.",
)
@click.option(
    "--held_out_data",
    default=None,
    type=FOLDER,
    help="Dataset folder; its test rows measure what --amp costs.  [default: random rows, no AUC]",
)
@click.option("--max_batch_size", default=1024, type=click.IntRange(1), help="Rows of a request and a merged batch.")
@click.option(
    "--buckets",
    default=None,
    type=BatchSizes(),
    help="Batch sizes to which merged batches are padded, as in 1,16,64,256,1024.  [default: not padded]",
)
@click.option("--max_rank_users", default=64, type=click.IntRange(1), help="Users of a ranking request.")
@click.option("--instances", default=os.cpu_count() or 1, type=click.IntRange(1), help="Executions at once.")
@click.option("--max_queue_delay_us", default=0, type=NOT_NEGATIVE, help="Microseconds to wait for requests to merge.")
@click.option(
    "--max_queue_size",
    default=0,
    type=NOT_NEGATIVE,
    help="Requests of each model that may wait; more are refused with UNAVAILABLE. 0: no bound. How to choose it: "
    "docs/operations.md. Kept by our backend; with --tf_trt by Triton, for the pointwise model.",
)
@click.option(
    "--queue_timeout_us",
    default=0,
    type=NOT_NEGATIVE,
    help="Microseconds that they may wait before they are refused with UNAVAILABLE. 0: no bound.",
)
@click.option("--intra_op_threads", default=1, type=NOT_NEGATIVE, help="TensorFlow intra-op threads; 0: all cores.")
@click.option("--inter_op_threads", default=1, type=NOT_NEGATIVE, help="TensorFlow inter-op threads; 0: all cores.")
@click.option("--parity_rows", default=256, type=click.IntRange(2), help="Rows scored both ways before publishing.")
def export(
    checkpoint: Path,
    model_repository: Path,
    model_name: str,
    rank: bool,
    xla: bool,
    amp: bool,
    tf_trt: str | None,
    tf_trt_batch_size: int | None,
    cpu_kernels: bool,
    held_out_data: Path | None,
    max_batch_size: int,
    buckets: tuple[int, ...] | None,
    max_rank_users: int,
    instances: int,
    max_queue_delay_us: int,
    max_queue_size: int,
    queue_timeout_us: int,
    intra_op_threads: int,
    inter_op_threads: int,
    parity_rows: int,
) -> None:
    """Publish a checkpoint as the next version of a model.

    Writes <model_repository>/<model_name>/<version>/model.savedmodel with signatures from the checkpoint's
    feature_spec.yaml, and config.pbtxt; and <model_name>_rank, which shares the files and serves the signature
    `rank`. Before it publishes, it scores rows eagerly and through the SavedModel and compares them; if they
    differ by more than 1e-5, or anything else fails, the repository stays as it was.
    """
    from export.saved_model import ModelOptions, export_checkpoint
    from export.tf_trt import TrtOptions
    from export.triton_config import ServingOptions

    for name, is_given in (("--xla", xla), ("--amp", amp)):
        if tf_trt and is_given:
            raise click.UsageError(f"--tf_trt: got {name} too; expected one of them.")
    if held_out_data and not amp:
        raise click.UsageError("--held_out_data measures what --amp costs; give both, or none.")
    serving = ServingOptions(
        max_batch_size=max_batch_size,
        instances=instances,
        dynamic_batching=not xla or bool(buckets),
        buckets=buckets or (),
        max_rank_users=max_rank_users,
        on_gpu=tf_trt is not None,
        max_queue_delay_us=max_queue_delay_us,
        max_queue_size=max_queue_size,
        queue_timeout_us=queue_timeout_us,
        intra_op_threads=intra_op_threads,
        inter_op_threads=inter_op_threads,
    )
    engines = TrtOptions(tf_trt, tf_trt_batch_size or max_batch_size) if tf_trt else None
    options = ModelOptions(xla, rank, amp, held_out_data, parity_rows, engines, cpu_kernels)
    exported = export_checkpoint(checkpoint, model_repository, model_name, serving, options)
    _report(exported)


def _report(exported: Exported) -> None:
    parity, loss = exported.parity, exported.precision
    click.echo(f"published {exported.folder}")
    if exported.rank_folder:
        click.echo(f"published {exported.rank_folder}")
    click.echo(
        f"parity: eager and SavedModel agree on {parity.rows} rows, largest difference {parity.max_abs_difference:.2g}"
    )
    if parity.rank_rows:
        click.echo(
            f"parity of rank: {parity.rank_rows} candidates score as rows do, "
            f"largest difference {parity.rank_max_abs_difference:.2g}"
        )
    if exported.cpu_parity:
        worst = max(exported.cpu_parity.max_abs_difference, exported.cpu_parity.rank_max_abs_difference)
        click.echo(f"parity of the graph of CPU kernels: largest difference {worst:.2g}")
    if loss:
        click.echo(
            f"bfloat16 against float32 on {loss.rows} rows: probabilities differ by {loss.max_abs_difference:.2g} at "
            f"most, {loss.mean_abs_difference:.2g} on average"
        )
        if loss.auc_float32 is not None and loss.auc_bfloat16 is not None:
            change = loss.auc_bfloat16 - loss.auc_float32
            click.echo(f"AUC {loss.auc_float32:.6f} in float32, {loss.auc_bfloat16:.6f} in bfloat16 ({change:+.6f})")
