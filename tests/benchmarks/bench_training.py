"""`make bench-training`: speed, FLOPs, memory and conversion, from a raw folder to one table and one JSON object."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tests.benchmarks.child import RECSERVE, Cost, run_child, stop_on_sigterm
from tests.benchmarks.datasets import generated_raw, prepare
from tests.benchmarks.machine import machine_facts
from tests.benchmarks.output import Progress, model_names, print_results, run_main
from tests.benchmarks.speed_runs import (
    in_rounds,
    inference_variants,
    measure_all,
    scaling_variants,
    training_variants,
    why_no_scaling,
)
from tests.benchmarks.speed_table import nested, speed_table, with_speedup
from training.report.log_file import read_log
from training.settings import MODEL_TYPES

RULES = ("--negative_sampling", "popularity", "--prefixes_per_user", "60")
SCALING_ROUNDS = 2


@click.command(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), help="Raw folder; by default a generated one.")
@click.option("--shortest", type=click.IntRange(min=2), default=20, help="--shortest_sequence_for_user.")
@click.option("--models", default=",".join(MODEL_TYPES), help="The first is also measured in inference and scaling.")
@click.option("--batch", type=click.IntRange(min=1), default=4096, help="Rows of a training step.")
@click.option("--steps", type=click.IntRange(min=1), default=60, help="Steps that are measured.")
@click.option("--warmup", type=click.IntRange(min=0), default=10, help="Steps before.")
@click.option("--rounds", type=click.IntRange(min=1), default=2, help="Runs of each variant; the median counts.")
@click.option("--scaling/--no_scaling", default=True, help="Compare two processes with one.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/bench"), help="Folder for all files.")
def main(
    data: Path | None, shortest: int, models: str, batch: int, steps: int, warmup: int, rounds: int, scaling: bool,
    work: Path,
) -> None:  # fmt: skip
    """Measure training: conversion, throughput, FLOPs per sample, share of the machine's peak, memory."""
    stop_on_sigterm()
    work = work.resolve()
    names = model_names(models)
    machine = machine_facts()
    no_scaling = why_no_scaling() if scaling else "left out"
    variants = [*training_variants(names, batch, steps), *inference_variants(names[0], steps)]
    order = in_rounds(variants, rounds)
    order += [] if no_scaling else in_rounds(scaling_variants(names[0], batch, max(1, steps // 2)), SCALING_ROUNDS)
    generating = [] if data else ["generate"]
    progress = Progress([*generating, "preprocess", "convert", *(v.name for v in order), "epoch"])

    raw = data.resolve() if data else generated_raw(work, progress)
    rules = [*RULES, "--shortest_sequence_for_user", str(shortest)]
    prepared = prepare(raw, work / "training" / "data", rules, progress)
    runs = measure_all(order, prepared.folder, work / "training" / "runs", warmup, progress)
    epoch = _one_epoch(names[0], batch, prepared.folder, work / "training" / "runs" / "epoch", progress)

    figures: dict[str, Any] = {
        "benchmark": "training",
        "machine": machine,
        "settings": {
            "data": raw.name if data else "generated", "batch": batch, "steps": steps, "warmup_steps": warmup,
            "rounds": rounds, "preprocess": rules,
        },
        "data": prepared.facts,
        "preparation": {name: asdict(stage) for name, stage in prepared.stages.items()},
        **nested(runs),
        "epoch": {names[0]: epoch},
    }  # fmt: skip
    figures["scaling"] = {"why_not": no_scaling} if no_scaling else with_speedup(figures["scaling"])
    print_results([speed_table(runs, prepared.stages, figures)], figures)


def _one_epoch(model: str, batch: int, dataset: Path, results: Path, progress: Progress) -> dict[str, float]:
    """A real epoch with its evaluation, for the memory of a whole run."""
    progress.begin(f"epoch {model} float32")
    options = ["--model_type", model, "--global_batch_size", str(batch), "--epochs", "1", "--seed", "1"]
    paths = ["--dataset_dir", str(dataset), "--results_dir", str(results)]
    cost: Cost = run_child([*RECSERVE, "train", *paths, *options], results / "output.log")
    figures = read_log(results / "log.json").epochs[1]
    progress.end(cost.seconds, f"test AUC {figures['test_auc']:.4f}")
    return {
        "seconds": cost.seconds,
        "peak_memory_bytes": cost.peak_memory_bytes,
        **{name: figures[name] for name in ("throughput", "test_auc", "latency_mean", "latency_p99")},
    }


if __name__ == "__main__":
    run_main(main)
