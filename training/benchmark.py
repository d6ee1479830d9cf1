"""Throughput and latency of training steps, and of scoring with random weights; each step waits for the device.

A step is timed from asking for its batch to the device's being done. `latency_*` and `throughput` include the wait
for the input pipeline, `throughput_without_input` does not. A dataset with fewer steps than asked for goes round again.
"""

from __future__ import annotations

import itertools
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from training.agreement import first_does
from training.amp import compute_dtype
from training.checkpoint import open_checkpoint
from training.distributed import Workers
from training.dllogger import DLLogger
from training.errors import SettingsError
from training.evaluation import scoring_function
from training.feature_spec import FeatureSpec
from training.flops import inference_flops_per_row, matrix_product_peak, training_flops_per_row
from training.input_pipeline import Batch, Dataset
from training.loop import first_log
from training.metric_units import BENCHMARK, log_units
from training.metrics import latency_summary
from training.models.base import CtrModel
from training.preparation import (
    MAX_SEED,
    evaluation_data,
    load_spec,
    make_folders,
    new_model,
    no_step,
    resolved_seed,
    steps_per_epoch,
    training_data,
)
from training.settings import Settings
from training.step import TrainStep


class _Timed(NamedTuple):
    """Of one step, seconds: the wait for its batch, and the whole step."""

    rows: int
    waited: float
    whole: float


@dataclass(frozen=True)
class BenchmarkResult:
    """figures: as in the summary line of the log. steps: measured ones."""

    mode: str
    batch_size: int
    processes: int
    warmup_steps: int
    steps: int
    figures: dict[str, float]


def run_benchmark(settings: Settings, workers: Workers, facts: dict[str, Any] | None = None) -> BenchmarkResult:
    """--mode inference, and --benchmark of either mode. Collective. Writes DLLogger lines, no checkpoint.

    Inference without --benchmark is one pass over the test mapping. facts: further entries for the log's first line.
    """
    if settings.results.save_checkpoint_path:
        raise SettingsError("save_checkpoint_path: a benchmark writes no checkpoint; leave it out")
    spec = load_spec(settings)
    first_does(workers, lambda: make_folders(settings))
    settings = replace(settings, run=replace(settings.run, seed=resolved_seed(settings, workers)))
    tf.random.set_seed(settings.run.seed % MAX_SEED)
    model = new_model(settings, spec)
    if settings.results.load_checkpoint_path:
        checkpoint = open_checkpoint(Path(settings.results.load_checkpoint_path))
        checkpoint.check_fits(spec, settings)
        checkpoint.restore_weights(model)
    workers.broadcast_variables(model.variables)
    prepare = _scoring if settings.run.mode == "inference" else _training
    batches, act, flops = prepare(settings, spec, model, workers)
    log_path = Path(settings.results.results_dir) / settings.results.log_filename
    dtype = compute_dtype(settings.training.amp)
    peak_before = matrix_product_peak(dtype)
    with first_log(log_path, workers) as log:
        log.parameters({**settings.to_flat(), "processes": workers.size, **(facts or {})})
        log_units(log, BENCHMARK)
        steps = [_logged(log, number, step) for number, step in enumerate(_timed(batches, act), start=1)]
        warmup = min(settings.run.benchmark_warmup_steps, len(steps) - 1)
        figures = _figures(steps[warmup:], flops, lambda: max(peak_before, matrix_product_peak(dtype)), workers)
        log.log((), figures)
    batch_size = settings.training.global_batch_size
    return BenchmarkResult(settings.run.mode, batch_size, workers.size, warmup, len(steps) - warmup, figures)


Prepared = tuple[Iterator[Batch], Callable[[Batch], Any], float]


def _training(settings: Settings, spec: FeatureSpec, model: CtrModel, workers: Workers) -> Prepared:
    data = training_data(settings, spec, model, workers)
    steps = steps_per_epoch(settings, data)
    total = None if steps is None else max(steps * settings.training.epochs, settings.training.warmup_steps + 1)
    return (
        _round_and_round(data, settings),
        TrainStep(model, workers, settings.training, total, settings.run.seed % MAX_SEED, settings.run.native_kernels),
        training_flops_per_row(model),
    )


def _scoring(settings: Settings, spec: FeatureSpec, model: CtrModel, workers: Workers) -> Prepared:
    data = evaluation_data(settings, spec, "test", model, workers, settings.training.global_batch_size)
    score = scoring_function(model, settings.training.xla, model.dtype)
    size = settings.training.micro_batch_size

    def act(batch: Batch) -> None:
        for start in range(0, len(batch.label), size):
            score({f.name: batch.features[f.name][start : start + size] for f in model.served}).numpy()

    batches = _round_and_round(data, settings) if settings.run.benchmark else data.batches()
    return batches, act, inference_flops_per_row(model)


def _round_and_round(data: Dataset, settings: Settings) -> Iterator[Batch]:
    """As many steps as are asked for, in as many passes as that takes; batches are made ahead across their ends."""
    shuffled = settings.data.shuffle and settings.run.mode == "train"
    drop = settings.data.drop_remainder and settings.run.mode == "train"
    seed = (settings.run.seed + 1) % MAX_SEED if shuffled else None
    steps = settings.run.benchmark_warmup_steps + settings.run.benchmark_steps
    batches = data.batches(shuffle_seed=seed, drop_remainder=drop, passes=steps)
    first = next(batches, None)
    if first is None:
        raise no_step(data)
    return itertools.islice(itertools.chain([first], batches), steps)


def _timed(batches: Iterator[Batch], act: Callable[[Batch], Any]) -> Iterator[_Timed]:
    start = time.perf_counter()
    for batch in batches:
        got = time.perf_counter()
        act(batch)
        tf.test.experimental.sync_devices()
        end = time.perf_counter()
        yield _Timed(batch.global_rows, got - start, end - start)
        start = time.perf_counter()  # what the log took is nobody's time


def _logged(log: DLLogger, number: int, step: _Timed) -> _Timed:
    log.log((1, number), {"samples/s": step.rows / step.whole})
    return step


def _figures(
    steps: list[_Timed], flops_per_row: float, peak_of_rank: Callable[[], float], workers: Workers
) -> dict[str, float]:
    """Of the slowest rank, since the others wait for it; peaks of all ranks together.

    peak_of_rank: FLOP/s; called when the memory has been read.
    """
    if not steps:
        raise SettingsError("dataset_dir: the mapping has no rows to measure with")
    seconds, waited = sum(s.whole for s in steps), sum(s.waited for s in steps)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    mine = np.array([[seconds, waited, peak_of_rank(), memory]], np.float64)
    everyone = workers.gather_rows(mine)
    slowest = everyone[everyone[:, 0].argmax()]
    rows = sum(s.rows for s in steps)
    seconds, waited, peak = float(slowest[0]), float(slowest[1]), float(everyone[:, 2].sum())
    return {
        "throughput": rows / seconds,
        "time": seconds,
        **latency_summary([s.whole for s in steps]),
        "throughput_without_input": rows / (seconds - waited),
        "input_share": waited / seconds,
        "peak_memory": float(everyone[:, 3].max()),
        "flops_per_sample": flops_per_row,
        "matrix_product_peak": peak,
        "share_of_peak": flops_per_row * rows / seconds / peak,
    }
