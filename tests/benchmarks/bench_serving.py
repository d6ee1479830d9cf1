"""`make bench-serving`: our backend beside Triton's Python backend and beside TensorFlow with no server, in one run.

The server has one CPU and its clients another, so that neither takes from the other what is measured.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from perf.points import PERF_ANALYZER, Point
from tests.benchmarks import serving_repository as repo
from tests.benchmarks.child import BenchmarkError, stop_on_sigterm
from tests.benchmarks.machine import machine_facts
from tests.benchmarks.onnx_twin import ONNX, add_onnx_twin, onnx_packages
from tests.benchmarks.output import print_results, run_main, say
from tests.benchmarks.serving_figures import Figures, ratios_of, tables_of
from tests.benchmarks.serving_load_time import load_seconds
from tests.benchmarks.serving_memory import measure_memory
from tests.benchmarks.serving_points import ceiling, measure_points
from tests.benchmarks.serving_ranking import measure_ranking
from tests.benchmarks.serving_server import BACKENDS, server_on_its_own_cpu
from training.feature_spec import FeatureSpec


@click.command(context_settings={"show_default": True, "max_content_width": 100})
@click.option("--batches", default="1,16,64,256,1024", help="Rows of a request.")
@click.option("--concurrency", default="1,4,16", help="Requests on their way at once.")
@click.option("--requests", type=click.IntRange(min=10), default=300, help="Requests measured at each point, at least.")
@click.option("--rounds", type=click.IntRange(min=1), default=2, help="Times each point is measured; medians count.")
@click.option("--candidates", type=click.IntRange(min=1), default=1000, help="Candidates of a ranking request.")
@click.option("--memory/--no_memory", default=True, help="Measure memory with a table of 1.2 million rows.")
@click.option("--onnx", is_flag=True, help="Also ONNX Runtime in the Python backend; installs tf2onnx beside the rest.")
@click.option(
    "--work", type=click.Path(path_type=Path), default=Path("build/bench/serving"), help="Folder for all files."
)
def main(
    batches: str, concurrency: str, requests: int, rounds: int, candidates: int, memory: bool, onnx: bool, work: Path
) -> None:  # fmt: skip
    """Measure serving side by side: our backend, with its CPU kernels and without ("plain"), the Python backend, and
    bare TF_SessionRun loops."""
    stop_on_sigterm()
    if len(os.sched_getaffinity(0)) < 2:
        raise BenchmarkError("expected two CPUs: one for the server, one for its clients")
    work = work.resolve()
    machine = machine_facts()
    say("export SIM, beside it the same SavedModel for the Python backend …")
    repository = work / "repository"
    checkpoint = repo.trained_checkpoint(work, "sim")
    version = repo.exported(checkpoint, repository, "--instances", 1)
    repo.add_exported(checkpoint, repository, repo.BFLOAT16, "--instances", 1, "--amp")
    repo.add_plain_twins(repository)
    repo.add_python_twin(repository)
    models = {**BACKENDS, "plain": repo.PLAIN}
    if onnx:
        add_onnx_twin(repository, onnx_packages(work / "onnx"))
        models["onnx"] = ONNX
    tools = repo.tools_with_python_backend(work / "tools")
    repo.let_stubs_find_python(tools)
    points = [Point(PERF_ANALYZER, b, c) for b in _numbers(batches) for c in _numbers(concurrency)]
    spec = FeatureSpec.load(version / "feature_spec.yaml")
    with server_on_its_own_cpu(repository, tools, "explicit") as server:
        figures: Figures = {"benchmark": "serving", "machine": machine, "load_s": load_seconds(server, models, rounds)}
        measured = measure_points(server, models, spec, points, requests, rounds, work)
        figures["points"] = measured
        figures["ceiling"] = ceiling(server, spec, version, measured, work)
        figures["rank"] = measure_ranking(server, spec, candidates, version, work)
    if memory:
        figures["memory_bytes"] = measure_memory(work, tools)
    figures["ratios"] = ratios_of(figures)
    print_results(tables_of(figures), figures)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    run_main(main)
