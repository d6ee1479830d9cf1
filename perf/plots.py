"""The report's two plots as SVG text: throughput against concurrency, and latency percentiles of each point."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

from perf.points import LOCUST, ResultRow

# Okabe and Ito's colours: told apart with any colour vision
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
PERCENTILES = {"p50": "o", "p90": "s", "p95": "D", "p99": "^"}
STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a94a3",
    "axes.labelcolor": "#3b4552",
    "xtick.color": "#3b4552",
    "ytick.color": "#3b4552",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e3e7ec",
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: sharp, small, can be searched
}
SIZE_INCHES = (6.4, 4.0)
MOST_LEVEL_LABELS = 9


def throughput_svg(rows: Sequence[ResultRow]) -> str:
    """Rows per second against requests in flight, a line per batch size; locust's users as hollow diamonds."""
    return _svg(lambda axes: _draw_throughput(axes, [r for r in rows if r.rows_per_s is not None]), "throughput")


def latency_svg(rows: Sequence[ResultRow]) -> str:
    """p50 to p99 of each point, one above the other."""
    return _svg(lambda axes: _draw_latency(axes, [r for r in rows if r.p50_ms is not None]), "latency")


def _draw_throughput(axes: Any, rows: Sequence[ResultRow]) -> None:
    closed = [r for r in rows if r.concurrency is not None]
    if not closed:
        _say_empty(axes)
        return
    batches = sorted({r.batch_size for r in closed})
    colour = {batch: COLOURS[index % len(COLOURS)] for index, batch in enumerate(batches)}
    for batch in batches:
        line = sorted(
            (r.concurrency or 0, r.rows_per_s or 0.0)
            for r in closed
            if (r.batch_size, r.tool == LOCUST) == (batch, False)
        )
        if line:
            axes.plot(*zip(*line, strict=True), marker="o", linewidth=2, color=colour[batch], label=f"batch {batch}")
    for r in closed:
        if r.tool == LOCUST:
            axes.plot(
                r.concurrency, r.rows_per_s, marker="D", markersize=9, linestyle="none", markerfacecolor="white",
                markeredgewidth=2, color=colour[r.batch_size], label=f"locust, batch {r.batch_size}",
            )  # fmt: skip
    ticks = sorted({r.concurrency for r in closed if r.concurrency})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(t) for t in ticks], minor=False)
    axes.set_xticks([], minor=True)
    axes.margins(x=0.12)
    _logarithmic(axes.yaxis)
    axes.set_xlabel("requests in flight (locust: users)")
    axes.set_ylabel("rows per second")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.17), ncols=4, columnspacing=1.2, handletextpad=0.5)


def _draw_latency(axes: Any, rows: Sequence[ResultRow]) -> None:
    if not rows:
        _say_empty(axes)
        return
    places = range(len(rows))
    for place, r in zip(places, rows, strict=True):
        axes.plot([place, place], [r.p50_ms, r.p99_ms], color="#c3cad3", linewidth=3, zorder=1)
    for index, (name, marker) in enumerate(PERCENTILES.items()):
        values = [getattr(r, f"{name}_ms") for r in rows]
        axes.scatter(places, values, marker=marker, s=34, color=COLOURS[index], label=name, zorder=2)
    axes.set_xticks(list(places), [_label(r) for r in rows], rotation=90 if len(rows) > MOST_LEVEL_LABELS else 0)
    axes.margins(x=0.06)
    _logarithmic(axes.yaxis)
    axes.set_ylabel("latency of a request, ms")
    axes.set_xlabel("batch size x requests in flight")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.17), ncols=4, columnspacing=1.2, handletextpad=0.2)


def _say_empty(axes: Any) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, "no point of this kind was measured", ha="center", color="#5c6877")


def _label(row: ResultRow) -> str:
    load = f"{row.request_rate:g}/s" if row.request_rate is not None else str(row.concurrency)
    return f"{row.batch_size} x {load}" + ("\nlocust" if row.tool == LOCUST else "")


def _logarithmic(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.axes.set_yscale("log")
    axis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _svg(draw: Callable[[Any], None], name: str) -> str:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # a salt of its own for each plot: ids of two plots in one page must not meet
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(SIZE_INCHES, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.subplots())
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None}, transparent=True)
    svg = text.getvalue()
    return svg[svg.index("<svg") :]  # without the XML header, which has no place inside a page
