"""Figures of the speed benchmark -> the JSON's tree and the printed table. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.benchmarks.datasets import Stage
from tests.benchmarks.machine import machine_line
from tests.benchmarks.output import number
from tests.benchmarks.speed_runs import Figures, medians
from training.report.tables import NO_FIGURE, Table

HEADINGS = [
    "what", "samples/s", "of each run", "without input", "waiting for input", "seconds", "mean ms", "p99 ms",
    "MFLOP/sample", "peak GFLOP/s", "share of peak", "peak memory MB",
]  # fmt: skip


def nested(runs: Mapping[tuple[str, ...], Sequence[Figures]]) -> dict[str, Any]:
    """Place -> medians, as a tree; `throughput_of_runs` has every run's."""
    tree: dict[str, Any] = {}
    for place, figures in runs.items():
        node = tree
        for part in place[:-1]:
            node = node.setdefault(part, {})
        node[place[-1]] = {**medians(figures), "throughput_of_runs": [run["throughput"] for run in figures]}
    return tree


def with_speedup(scaling: Mapping[str, Any]) -> dict[str, Any]:
    """Adds two processes' throughput over one's, each the median."""
    return {
        model: {**pair, "speedup": pair["processes_2"]["throughput"] / pair["processes_1"]["throughput"]}
        for model, pair in scaling.items()
    }


def speed_table(
    runs: Mapping[tuple[str, ...], Sequence[Figures]], stages: Mapping[str, Stage], figures: Mapping[str, Any]
) -> Table:
    """The table that is printed. figures: the JSON's."""
    rows = [_stage_row(name, stage) for name, stage in stages.items()]
    rows += [_run_row(" ".join(place), of_place) for place, of_place in runs.items()]
    rows += [_epoch_row(model, epoch) for model, epoch in figures["epoch"].items()]
    return Table("Training speed", HEADINGS, rows, 1, _note(figures))


def _row(what: str, cells: Mapping[str, str]) -> list[str]:
    return [what, *(cells.get(heading, NO_FIGURE) for heading in HEADINGS[1:])]


def _stage_row(name: str, stage: Stage) -> list[str]:
    cells = {"seconds": f"{stage.seconds:.1f}", "peak memory MB": number(stage.peak_memory_bytes / 1e6, ",.0f")}
    return _row(name, cells)


def _run_row(name: str, runs: Sequence[Figures]) -> list[str]:
    f = medians(runs)
    cells = {
        "samples/s": number(f["throughput"], ",.0f"),
        "of each run": " ".join(number(run["throughput"], ",.0f") for run in runs),
        "without input": number(f["throughput_without_input"], ",.0f"),
        "waiting for input": number(f["input_share"], ".1%"),
        "seconds": number(f["time"], ".1f"),
        "mean ms": number(f["latency_mean"], ".1f"),
        "p99 ms": number(f["latency_p99"], ".1f"),
        "MFLOP/sample": number(f["flops_per_sample"] / 1e6, ".2f"),
        "peak GFLOP/s": number(f["matrix_product_peak"] / 1e9, ",.0f"),
        "share of peak": number(f["share_of_peak"], ".1%"),
        "peak memory MB": number(f["peak_memory"] / 1e6, ",.0f"),
    }
    return _row(name, cells)


def _epoch_row(model: str, epoch: Mapping[str, float]) -> list[str]:
    cells = {
        "samples/s": number(epoch["throughput"], ",.0f"),
        "seconds": number(epoch["seconds"], ".1f"),
        "mean ms": number(epoch["latency_mean"], ".1f"),
        "p99 ms": number(epoch["latency_p99"], ".1f"),
        "peak memory MB": number(epoch["peak_memory_bytes"] / 1e6, ",.0f"),
    }
    return _row(f"epoch {model} float32, with evaluation", cells)


def _note(figures: Mapping[str, Any]) -> str:
    settings, data = figures["settings"], figures["data"]
    text = (
        f"Data: {settings['data']}, {data['rows']['train']:,} training rows, {data['history_fill']:.0%} of their "
        f"history's steps filled. Batch {settings['batch']}, {settings['steps']} steps; medians of "
        f"{settings['rounds']} runs in alternating order. {machine_line(figures['machine'])}"
    )
    scaling = figures["scaling"]
    if "why_not" in scaling:
        return f"{text} Two processes against one: {scaling['why_not']}."
    speedups = [f"{pair['speedup']:.2f} times for {model}" for model, pair in scaling.items()]
    return f"{text} Two processes of one thread against one, same global batch: {', '.join(speedups)}."
