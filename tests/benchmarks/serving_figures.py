"""What bench_serving's figures come down to: ratios and tables."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.output import number
from training.report.tables import Table

CEILING_BATCH, CEILING_CONCURRENCY = 64, 4
Figures = dict[str, Any]


def ratios_of(figures: Figures) -> dict[str, float]:
    """What the tables come down to. More than 1: the first is larger."""
    at = {(r["backend"], r["batch"], r["concurrency"]): r for r in figures["points"]}
    ratios = {"load_native_to_python": figures["load_s"]["native"] / figures["load_s"]["python"]}
    for graph, name in (("native", "saturated_to_ceiling_batch_64"), ("plain", "plain_saturated_to_ceiling_batch_64")):
        saturated = [r["rows_per_s"] for (kind, batch, _), r in at.items() if (kind, batch) == (graph, CEILING_BATCH)]
        if saturated:
            ratios[name] = max(saturated) / figures["ceiling"][graph][str(CEILING_BATCH)]
    for name, figure in (("throughput", "rows_per_s"), ("p99", "p99_ms")):
        pair = [at.get((kind, 1, CEILING_CONCURRENCY)) for kind in ("native", "python")]
        if all(pair):
            ratios[f"{name}_native_to_python_batch_1_concurrency_4"] = pair[0][figure] / pair[1][figure]  # type: ignore[index]
        for other in ("plain", "onnx"):
            row = at.get((other, 1, CEILING_CONCURRENCY))
            if pair[0] and row:
                ratios[f"{name}_native_to_{other}_batch_1_concurrency_4"] = pair[0][figure] / row[figure]
    rank = figures["rank"]
    for kind in ("rank", "rank_plain", "rank_bfloat16"):
        ratios[f"{kind}_to_pointwise_candidates_per_s"] = rank["pointwise"]["p50_ms"] / rank[kind]["p50_ms"]
    kernels = rank["pointwise_kernels"]["p50_ms"]
    ratios["rank_to_pointwise_kernels_candidates_per_s"] = kernels / rank["rank"]["p50_ms"]
    ratios["rank_share_of_product_peak"] = rank["share_of_peak"]
    ratios["rank_to_pointwise_request_bytes"] = rank["request_bytes"]["rank"] / rank["request_bytes"]["pointwise"]
    for kind, memory in figures.get("memory_bytes", {}).items():
        ratios[f"memory_4_instances_to_1_{kind}"] = memory["4"] / memory["1"]
    return ratios


def tables_of(figures: Figures) -> list[Table]:
    rows = [
        [
            str(r["batch"]), str(r["concurrency"]), r["backend"], number(r["rows_per_s"], ",.0f"),
            *(number(r[f"p{q}_ms"], ".2f") for q in (50, 90, 95, 99)),
        ]
        for r in figures["points"]
    ]  # fmt: skip
    points = Table(
        "Requests", ["batch", "in flight", "backend", "rows/s", "p50 ms", "p90 ms", "p95 ms", "p99 ms"], rows, 0,
        "Server on one CPU, perf_analyzer on another; medians of the rounds.",
    )  # fmt: skip
    ratios = Table("Ratios", ["what", "ratio"], [[name, f"{value:.3f}"] for name, value in figures["ratios"].items()])
    return [points, ranking_table(figures["rank"]), ratios]


def ranking_table(rank: Figures) -> Table:
    """Ranking beside pointwise rows, in turn, and by itself."""
    kinds = ("pointwise", "pointwise_kernels", "rank", "rank_plain", "rank_bfloat16")
    rows = [[f"{kind.replace('_', ', ')}, in turn", rank["candidates"], rank[kind]] for kind in kinds]
    rows += [[f"rank, {row['dtype']}, alone", row["candidates"], row] for row in rank["alone"]]
    return Table(
        "Candidates of one user", ["request", "candidates", "p50 ms", "p90 ms", "p99 ms"],
        [[what, f"{count:,}", *(f"{row[f'p{q}_ms']:.2f}" for q in (50, 90, 99))] for what, count, row in rows],
        note=f"{rank['flop'] / 1e9:.2f} GFLOP in products of float32 ranking, at {rank['share_of_peak']:.0%} of the "
        f"{rank['peak_flop_per_s'] / 1e9:.0f} GFLOP/s that a large product reached on the server's CPU.",
    )  # fmt: skip
