"""`make bench-accuracy`: test AUC of each model over seeds, from a raw folder to tables and one JSON object."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tests.benchmarks.accuracy_figures import figures_of
from tests.benchmarks.accuracy_runs import plan, train_all
from tests.benchmarks.accuracy_tables import accuracy_tables
from tests.benchmarks.child import stop_on_sigterm
from tests.benchmarks.datasets import generated_raw, prepare_once
from tests.benchmarks.machine import machine_facts
from tests.benchmarks.output import Progress, model_names, print_results, run_main, say
from training.settings import MODEL_TYPES

AT_LEAST_1 = click.IntRange(min=1)


@click.command(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), help="Raw folder; by default a generated one.")
@click.option("--seeds", type=AT_LEAST_1, default=3, help="Seeds 1..N of training.")
@click.option("--epochs", type=AT_LEAST_1, default=3, help="Epochs of every run.")
@click.option("--models", default="sim,dien,din", help=f"Of {', '.join(MODEL_TYPES)}; compared in this order.")
@click.option("--shortest", type=click.IntRange(min=2), default=20, help="--shortest_sequence_for_user.")
@click.option("--prefixes", type=click.IntRange(min=0), default=60, help="--prefixes_per_user; 0: all.")
@click.option("--batch", type=AT_LEAST_1, default=4096, help="Rows of a training step.")
@click.option("--lr", default=0.01, help="Learning rate of Adam.")
@click.option("--amp/--no_amp", default=False, help="Compare float32 with --amp.")
@click.option("--validation/--no_validation", default=True, help="Choose an epoch, by runs on a validation split.")
@click.option("--train_options", default="", help="More options of `recserve train` for all runs.")
@click.option("--preprocess_options", default="", help="More options of `recserve preprocess`, such as --timestamps.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/bench"), help="Folder for all files.")
def main(
    data: Path | None, seeds: int, epochs: int, models: str, shortest: int, prefixes: int, batch: int, lr: float,
    amp: bool, validation: bool, train_options: str, preprocess_options: str, work: Path,
) -> None:  # fmt: skip
    """Compare the models' test AUC over seeds. Finished runs are kept: an interrupted call goes on."""
    stop_on_sigterm()
    work, names = work.resolve(), model_names(models)
    machine = machine_facts()
    trainings = plan(names, seeds, amp, validation)
    protocols = ["full", "validation"] if validation else ["full"]
    stages = [f"{stage} {protocol}" for protocol in protocols for stage in ("preprocess", "convert")]
    progress = Progress([*([] if data else ["generate"]), *stages, *(training.kind for training in trainings)])

    raw = data.resolve() if data else generated_raw(work, progress)
    rules = [
        "--negative_sampling", "popularity", "--shortest_sequence_for_user", str(shortest),
        "--prefixes_per_user", str(prefixes), *shlex.split(preprocess_options),
    ]  # fmt: skip
    splits = {protocol: ["--validation_split"] if protocol == "validation" else [] for protocol in protocols}
    datasets = {
        protocol: prepare_once(raw, work / "accuracy" / "data" / protocol, [*rules, *split], progress)
        for protocol, split in splits.items()
    }
    options = [
        "--global_batch_size", str(batch), "--lr", str(lr), "--optimizer", "adam", "--epochs", str(epochs),
        *shlex.split(train_options),
    ]  # fmt: skip
    runs = train_all(trainings, datasets, options, work / "accuracy" / "runs", progress)
    sources = sorted({run.sources for run in runs})
    if len(sources) > 1:
        say("The code changed while the benchmark ran: the figures are of more than one state of it.")

    say("bootstrap over the test rows …")
    figures: dict[str, Any] = {
        "benchmark": "accuracy",
        "machine": machine,
        "settings": {
            "data": raw.name if data else "generated", "seeds": seeds, "epochs": epochs, "batch": batch, "lr": lr,
            "preprocess": rules, "train": options,
        },
        "sources": sources,
        "data": {protocol: prepared.facts for protocol, prepared in datasets.items()},
        "preparation": {
            name: asdict(stage) for name, stage in datasets["full"].stages.items()
        },
        **figures_of(runs, names),
    }  # fmt: skip
    print_results(accuracy_tables(figures), figures)


if __name__ == "__main__":
    run_main(main)
