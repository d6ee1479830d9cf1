"""`recserve train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from training.settings import Settings, read_recipe
from training.settings_cli import given, settings_options

if TYPE_CHECKING:
    from training.loop import TrainingResult


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--recipe", type=click.Path(path_type=Path), help="YAML file of parameters; flags override it.")
@settings_options
def train(recipe: Path | None, **flags: Any) -> None:
    """Train a model on a converted dataset.

    One process, or several with `horovodrun -np N recserve train …`. Each epoch ends with an evaluation on
    the test mapping (exact ROC AUC over all rows) and, if asked for, a checkpoint that export and a resumed
    run need nothing else for.

    \b
    Example:
      recserve train --dataset_dir data/tfrecord --global_batch_size 4096 --save_checkpoint_path checkpoints
    """
    settings = Settings.from_flat({**(read_recipe(recipe) if recipe else {}), **given(flags)}, str(recipe or "flags"))
    from training.distributed import start_workers
    from training.loop import run_training

    _set_threads(settings)
    workers = start_workers()
    result = run_training(settings, workers)
    if workers.is_first:
        click.echo(_table(result, workers.size))
        click.echo(f"log: {Path(settings.results.results_dir) / settings.results.log_filename}")
        if result.checkpoint is not None:
            click.echo(f"checkpoint: {result.checkpoint}")


def _set_threads(settings: Settings) -> None:
    import tensorflow as tf

    if settings.run.inter_op_parallelism:
        tf.config.threading.set_inter_op_parallelism_threads(settings.run.inter_op_parallelism)
    if settings.run.intra_op_parallelism:
        tf.config.threading.set_intra_op_parallelism_threads(settings.run.intra_op_parallelism)


def _table(result: TrainingResult, processes: int) -> str:
    if not result.epochs:
        return (
            f"nothing left to train: all epochs are done. test AUC {result.final.auc:.6f} on {result.final.rows} rows"
        )
    lines = [
        "| epoch | train rows | train AUC | train loss | test rows | test AUC | test loss | samples/s | time s |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {e.epoch} | {e.train.rows} | {e.train.auc:.4f} | {e.train.loss:.4f} | {e.test.rows} | {e.test.auc:.6f} "
        f"| {e.test.loss:.4f} | {e.throughput:,.0f} | {e.seconds:.1f} |"
        for e in result.epochs
    ]
    lines.append(f"{processes} process{'es' if processes > 1 else ''}, {result.seconds:.1f} s in all")
    return "\n".join(lines)
