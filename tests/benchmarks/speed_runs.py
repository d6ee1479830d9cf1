"""`recserve train --benchmark` in all its variants, in rounds, each in a process of its own."""

from __future__ import annotations

import importlib.util
import math
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.child import RECSERVE, BenchmarkError, Cost, run_child
from tests.benchmarks.output import Progress
from training.report.log_file import read_log

HOROVODRUN = Path(sys.executable).with_name("horovodrun")
ONE_THREAD = ("--intra_op_parallelism", "1", "--inter_op_parallelism", "1", "--affinity", "single_unique")
INFERENCE_BATCHES = (4096, 64)
STEPS_OF_SMALL_BATCHES = 10  # times as many: a step is short
Figures = dict[str, float]


@dataclass(frozen=True)
class Variant:
    """One way to run. place: of its figures in the JSON. options: of `recserve train`."""

    place: tuple[str, ...]
    batch: int
    steps: int
    options: tuple[str, ...]
    processes: int = 1

    @property
    def name(self) -> str:
        return " ".join(self.place)


def training_variants(models: Sequence[str], batch: int, steps: int) -> list[Variant]:
    return [
        Variant(("training", model, precision), batch, steps, ("--model_type", model, *amp))
        for model in models
        for precision, amp in (("float32", ()), ("amp", ("--amp",)))
    ]


def inference_variants(model: str, steps: int) -> list[Variant]:
    return [
        Variant(
            ("inference", model, f"batch_{batch}"), batch, steps * (1 if batch >= 1024 else STEPS_OF_SMALL_BATCHES),
            ("--model_type", model, "--mode", "inference"),
        )
        for batch in INFERENCE_BATCHES
    ]  # fmt: skip


def scaling_variants(model: str, batch: int, steps: int) -> list[Variant]:
    """The same global batch in one process and in two, each with one thread on a core of its own."""
    options = ("--model_type", model, *ONE_THREAD)
    return [Variant(("scaling", model, f"processes_{n}"), batch, steps, options, n) for n in (1, 2)]


def why_no_scaling() -> str:
    """Empty if two processes can be compared with one."""
    if importlib.util.find_spec("horovod") is None or not HOROVODRUN.is_file():
        return "Horovod is not installed: `make horovod`"
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return "" if cpus > 1 else "there is only one CPU"


def in_rounds(variants: Sequence[Variant], rounds: int) -> list[Variant]:
    """All variants once per round, every second round backwards: a machine that gets slower is fair to all."""
    forth, back = list(variants), list(reversed(variants))
    return [variant for number in range(rounds) for variant in (back if number % 2 else forth)]


def measure(variant: Variant, dataset: Path, work: Path, warmup: int) -> tuple[Figures, Cost]:
    """The summary of the run's log, and what its process cost. Raises BenchmarkError."""
    results = work / "-".join(variant.place)
    horovodrun = [str(HOROVODRUN), "--gloo", "--disable-cache", "-np", str(variant.processes)]
    launcher = horovodrun if variant.processes > 1 else []
    options = [
        "--dataset_dir", str(dataset), "--results_dir", str(results), "--seed", "1", "--benchmark",
        "--global_batch_size", str(variant.batch), "--benchmark_steps", str(variant.steps),
        "--benchmark_warmup_steps", str(warmup), *variant.options,
    ]  # fmt: skip
    cost = run_child([*launcher, *RECSERVE, "train", *options], results / "output.log")
    log = read_log(results / "log.json")
    if not log.finished or log.parameters.get("processes") != variant.processes:
        raise BenchmarkError(f"{variant.name}: {results / 'log.json'} has no summary of {variant.processes} processes")
    return log.summary, cost


def measure_all(
    order: Sequence[Variant], dataset: Path, work: Path, warmup: int, progress: Progress
) -> dict[tuple[str, ...], list[Figures]]:
    """Place -> the figures of its runs in the order of time."""
    figures = defaultdict(list)
    for variant in order:
        progress.begin(variant.name)
        measured, cost = measure(variant, dataset, work, warmup)
        progress.end(cost.seconds, f"{measured['throughput']:,.0f} samples/s")
        figures[variant.place].append(measured)
    return dict(figures)


def medians(runs: Sequence[Figures]) -> Figures:
    """Of each figure over the runs; NaN where one has none."""
    return {name: _median([run.get(name, math.nan) for run in runs]) for name in runs[0]}


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if all(map(math.isfinite, values)) else math.nan
