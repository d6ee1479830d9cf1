"""`recserve train`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from training.affinity import bind_process
from training.allocator import keep_memory_for_steps
from training.settings import Settings, read_recipe
from training.settings_checks import unused_options
from training.settings_cli import given, settings_options

if TYPE_CHECKING:
    from training.benchmark import BenchmarkResult
    from training.distributed import Workers
    from training.evaluation import Evaluation
    from training.loop import TrainingResult


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--recipe", type=click.Path(path_type=Path), help="YAML file of parameters; flags override it.")
@settings_options
def train(recipe: Path | None, **flags: Any) -> None:
    """Train a model on a converted dataset, or measure it.

    One process, or several with `horovodrun -np N recserve train …`. Each epoch ends with an evaluation on
    the test mapping (exact ROC AUC over all rows) and, if asked for, a checkpoint that export and a resumed
    run need nothing else for. With a mapping `validation` the best epoch is chosen on it, and export takes
    that one; resuming takes the newest. SIGTERM or Ctrl-C ends the run with a checkpoint of the step.

    \b
    Examples:
      recserve train --dataset_dir data/tfrecord --global_batch_size 4096 --save_checkpoint_path checkpoints
      recserve train --dataset_dir data/tfrecord --load_checkpoint_path checkpoints \\
          --save_checkpoint_path checkpoints                    # go on, also within an epoch
      recserve train --dataset_dir data/tfrecord --benchmark    # speed, memory, share of the machine's peak
      recserve train --dataset_dir data/tfrecord --mode inference --benchmark --global_batch_size 4096
    """
    settings = Settings.from_flat({**(read_recipe(recipe) if recipe else {}), **given(flags)}, str(recipe or "flags"))
    keep_memory_for_steps()
    cpus = bind_process(settings.run.affinity)  # before TensorFlow is loaded: it counts the CPUs it may use
    from training.distributed import start_workers

    _set_threads(settings)
    workers = start_workers()
    for sentence in unused_options(settings.model) if workers.is_first else ():
        click.secho(f"warning: {sentence}", fg="yellow", err=True)
    facts: dict[str, Any] = {} if cpus is None else {"cpus": len(cpus)}
    facts["native_kernels_used"] = _uses_kernels(settings, workers)
    if settings.run.mode == "inference" or settings.run.benchmark:
        _measure(settings, workers, facts)
    else:
        _train(settings, workers, facts)


def _uses_kernels(settings: Settings, workers: Workers) -> bool:
    """Says so if they are wanted but are not there."""
    import tensorflow as tf

    from training.native import kernels_available

    wanted = settings.run.native_kernels and not settings.training.xla
    used = wanted and kernels_available()
    if wanted and not used and workers.is_first and not tf.config.list_physical_devices("GPU"):
        click.secho(
            "warning: the compiled CPU kernels are missing or of another version; training is slower without them. "
            "`make kernels` compiles them.", fg="yellow", err=True,
        )  # fmt: skip
    return used


def _train(settings: Settings, workers: Workers, facts: dict[str, Any]) -> None:
    from training.interruption import Interrupted
    from training.loop import run_training

    try:
        result = run_training(settings, workers, facts)
    except Interrupted as stop:
        if workers.is_first:
            click.secho(str(stop), fg="yellow", err=True)
        sys.exit(stop.exit_code)
    if workers.is_first:
        click.echo(_table(result, workers.size))
        _echo_log(settings)
        if result.checkpoint is not None:
            click.echo(f"checkpoint: {result.checkpoint}")


def _measure(settings: Settings, workers: Workers, facts: dict[str, Any]) -> None:
    from training.benchmark import run_benchmark

    result = run_benchmark(settings, workers, facts)
    if workers.is_first:
        click.echo(_benchmark_table(result, facts.get("cpus")))
        _echo_log(settings)


def _echo_log(settings: Settings) -> None:
    click.echo(f"log: {Path(settings.results.results_dir) / settings.results.log_filename}")


def _set_threads(settings: Settings) -> None:
    import tensorflow as tf

    if settings.run.inter_op_parallelism:
        tf.config.threading.set_inter_op_parallelism_threads(settings.run.inter_op_parallelism)
    if settings.run.intra_op_parallelism:
        tf.config.threading.set_intra_op_parallelism_threads(settings.run.intra_op_parallelism)


def _table(result: TrainingResult, processes: int) -> str:
    if not result.epochs:
        reason = "early stopping has ended it" if result.stopped_early else "all epochs are done"
        return f"nothing left to train: {reason}. test AUC {result.final.auc:.6f} on {result.final.rows} rows"
    has_gauc = result.final.gauc is not None
    has_validation = result.epochs[0].validation is not None
    heads = ["epoch", "train rows", "train AUC", "train loss"]
    heads += ["validation AUC", "validation loss"] if has_validation else []
    heads += ["test rows", "test AUC", *(["test GAUC"] if has_gauc else []), "test loss", "samples/s", "time s"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---:|" * len(heads)]
    for e in result.epochs:
        cells = [str(e.epoch), str(e.train.rows), f"{e.train.auc:.4f}", f"{e.train.loss:.4f}"]
        cells += [f"{e.validation.auc:.6f}", f"{e.validation.loss:.4f}"] if e.validation is not None else []
        cells += [str(e.test.rows), f"{e.test.auc:.6f}", *_gauc_cell(e.test), f"{e.test.loss:.4f}"]
        cells += ["-", "-"] if e.throughput is None else [f"{e.throughput:,.0f}", f"{e.seconds:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    if result.best is not None and result.best.epoch:
        stopped = "; stopped early" if result.stopped_early else ""
        chosen = f"best epoch by validation {result.best.metric}: {result.best.epoch}"
        lines.append(f"{chosen}, test AUC {result.final.auc:.6f}{stopped}")
    lines.append(f"{processes} process{'es' if processes > 1 else ''}, {result.seconds:.1f} s in all")
    return "\n".join(lines)


def _gauc_cell(evaluation: Evaluation) -> list[str]:
    return [] if evaluation.gauc is None else [f"{evaluation.gauc:.6f}"]


def _benchmark_table(result: BenchmarkResult, cpus: int | None) -> str:
    f = result.figures
    what = "training" if result.mode == "train" else "scoring, random weights"
    lines = [
        f"{what}: {result.steps} steps of {result.batch_size} rows after {result.warmup_steps} warmup steps, "
        f"{result.processes} process{'es' if result.processes > 1 else ''}"
        + (f" of {cpus} CPU{'s' if cpus != 1 else ''}" if cpus else ""),
        "| figure | value |",
        "|---|---:|",
        f"| throughput | {f['throughput']:,.0f} samples/s |",
        f"| without waiting for input | {f['throughput_without_input']:,.0f} samples/s |",
        f"| waiting for input | {f['input_share']:.1%} |",
    ]
    lines += [f"| latency {name} | {f[f'latency_{name}']:.2f} ms |" for name in ("mean", "p90", "p95", "p99")]
    lines += [
        f"| FLOPs per sample | {f['flops_per_sample'] / 1e6:.3f} MFLOP |",
        f"| matrix-product peak, measured in this run | {f['matrix_product_peak'] / 1e9:.1f} GFLOP/s |",
        f"| share of that peak | {f['share_of_peak']:.1%} |",
        f"| peak memory of a process | {f['peak_memory'] / 1e6:,.0f} MB |",
    ]
    return "\n".join(lines)
