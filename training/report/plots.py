"""The report's plots as PNG: loss terms and samples/s by step, AUC by epoch, ROC curves. matplotlib, no display."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from training.report.comparison import RunFigures

# Okabe and Ito's colours: told apart with any colour vision; after them the same with another line
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINES = ("-", "--", ":", "-.")
STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a94a3",
    "axes.labelcolor": "#3b4552",
    "axes.titlesize": 10,
    "axes.titlecolor": "#3b4552",
    "xtick.color": "#3b4552",
    "ytick.color": "#3b4552",
    "axes.grid": True,
    "grid.color": "#e3e7ec",
    "legend.frameon": False,
}
PANEL_INCHES = (4.6, 3.2)
LONE_PANEL_INCHES = (5.6, 4.6)
ROC_INCHES = (5.6, 5.0)
DOTS_PER_INCH = 144
SHOWN_DOTS_PER_INCH = 80  # three panels fill the page; denser screens get the finer dots
PANELS_IN_A_ROW = 3
LETTERS_PER_INCH = 11
LETTERS_OF_A_LINE = 7  # what a line and the gaps of a legend's entry take
LEGEND_LINE_INCHES = 0.22
ROC_POINTS = 2000
SPEED = "samples/s"
Series = tuple[np.ndarray, np.ndarray]


def plots(runs: Sequence[RunFigures]) -> dict[str, bytes]:
    """File name -> PNG, for what the runs have figures of."""
    terms = dict.fromkeys(name for r in runs for step in r.run.log.steps.values() for name in step if name != SPEED)
    losses = {term: _series(runs, term) for term in terms}
    speeds = {SPEED: _series(runs, SPEED)}
    splits = {f"{split} AUC": _series(runs, f"{split}_auc", by_epoch=True) for split in ("train", "validation", "test")}
    made = {
        "loss.png": _panels(runs, losses, "step", _draw_steps),
        "auc.png": _panels(runs, splits, "epoch", _draw_epochs),
        "throughput.png": _panels(runs, speeds, "step", _draw_speeds),
        "roc.png": _roc(runs),
    }
    return {name: png for name, png in made.items() if png}


def shown_width(png: bytes) -> int:
    """Width of a plot on the page, in CSS pixels, so that all plots' text is of one size."""
    return int.from_bytes(png[16:20]) * SHOWN_DOTS_PER_INCH // DOTS_PER_INCH


def smoothed(values: np.ndarray) -> np.ndarray:
    """Centred moving mean of values [n], over a twentieth of them or 9, fewer in short runs; NaN counts as absent."""
    half = max(len(values) // 40, min(4, len(values) // 10))
    known = np.isfinite(values)
    sums, counts = (np.concatenate([[0.0], np.cumsum(a)]) for a in (np.where(known, values, 0.0), known.astype(float)))
    places = np.arange(len(values))
    low, high = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    with np.errstate(invalid="ignore"):
        means: np.ndarray = (sums[high] - sums[low]) / (counts[high] - counts[low])
    return means


def roc_curve(label: np.ndarray, score: np.ndarray) -> Series:
    """False and true positive rate [≤ N + 1] at each threshold, from (0, 0) to (1, 1); ties are one step."""
    order = np.argsort(-np.asarray(score, np.float64), kind="stable")
    positive = np.asarray(label)[order] > 0
    last_of_tie = np.append(np.flatnonzero(np.diff(np.asarray(score)[order])), len(order) - 1)
    true = np.concatenate([[0], np.cumsum(positive)[last_of_tie]])
    false = np.concatenate([[0], np.cumsum(~positive)[last_of_tie]])
    return false / false[-1], true / true[-1]


def _series(runs: Sequence[RunFigures], metric: str, by_epoch: bool = False) -> dict[int, Series]:
    """Number of the run -> (steps or epochs [n], values [n]), for the runs that logged the metric."""
    series = {}
    for index, r in enumerate(runs):
        log = r.run.log
        lines = log.epochs.values() if by_epoch else log.steps.values()
        values = np.array([line.get(metric, np.nan) for line in lines])
        if np.isfinite(values).any():
            series[index] = np.array(list(log.epochs) if by_epoch else log.step_numbers), values
    return series


def _look(index: int) -> dict[str, Any]:
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": LINES[index // len(COLOURS) % len(LINES)]}


def _draw_steps(axes: Any, series: Mapping[int, Series]) -> None:
    """Each step faintly, the moving mean over it."""
    for index, (steps, values) in series.items():
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(steps, values, color=colour, alpha=0.35, linewidth=0.8)
        axes.plot(steps, smoothed(values), linewidth=1.8, **_look(index), **_dot_if_alone(values))


def _draw_speeds(axes: Any, series: Mapping[int, Series]) -> None:
    """From zero, and no higher than nearly all steps: a single odd step must not press the rest flat."""
    _draw_steps(axes, series)
    every = np.concatenate([values[np.isfinite(values)] for _, values in series.values()])
    axes.set_ylim(0, 1.25 * float(np.quantile(every, 0.98)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def _draw_epochs(axes: Any, series: Mapping[int, Series]) -> None:
    from matplotlib.ticker import MaxNLocator

    for place, (index, (epochs, values)) in enumerate(series.items()):
        size = 5 + 2 * min(len(series) - 1 - place, 2)  # equal runs show as rings
        axes.plot(epochs, values, marker="o", markersize=size, linewidth=1.8, **_look(index))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter("{x:.3f}")
    axes.margins(x=0.08, y=0.15)


def _dot_if_alone(values: np.ndarray) -> dict[str, Any]:
    """A line through one point cannot be seen."""
    return {"marker": "o", "markersize": 5} if np.isfinite(values).sum() == 1 else {}


def _panels(
    runs: Sequence[RunFigures],
    panels: Mapping[str, Mapping[int, Series]],
    x_label: str,
    draw: Callable[[Any, Mapping[int, Series]], None],
) -> bytes | None:
    """One panel for each title that any run has a series of; None if there is none."""
    panels = {title: series for title, series in panels.items() if series}
    if not panels:
        return None
    columns = min(len(panels), PANELS_IN_A_ROW)
    rows = -(-len(panels) // columns)
    width, height = PANEL_INCHES if len(panels) > 1 else LONE_PANEL_INCHES

    def fill(figure: Any) -> None:
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        for axes, (title, series) in zip(grid, panels.items(), strict=False):
            draw(axes, series)
            axes.set_title(title)
            axes.set_xlabel(x_label)

    shown = sorted({index for series in panels.values() for index in series}) if len(runs) > 1 else []
    return _png((width * columns, height * rows), fill, {index: runs[index].run.name for index in shown})


def _roc(runs: Sequence[RunFigures]) -> bytes | None:
    drawn = {index: r for index, r in enumerate(runs) if r.scores is not None}
    if not drawn:
        return None

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="#c3cad3", linewidth=1)
        for index, r in drawn.items():
            if r.run.scores is not None:
                false, true = roc_curve(r.run.scores.label, r.run.scores.logit)
                shown = np.unique(np.linspace(0, len(false) - 1, ROC_POINTS).astype(int))
                axes.plot(false[shown], true[shown], linewidth=1.8, **_look(index))
        axes.set_aspect("equal")
        axes.margins(0.01)
        axes.set_xlabel("false positive rate")
        axes.set_ylabel("true positive rate")

    legend = {
        index: f"{r.run.name}: AUC {r.scores.auc:.4f} ± {r.scores.auc_standard_error:.4f}"
        for index, r in drawn.items()
        if r.scores is not None
    }
    return _png(ROC_INCHES, fill, legend)


def _png(inches: tuple[float, float], fill: Callable[[Any], None], legend: Mapping[int, str]) -> bytes:
    """legend: number of the run -> its text; it stands above the panels, which keep their height."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    width, height = inches
    longest = max((len(text) for text in legend.values()), default=1)
    columns = min(max(1, int(width * LETTERS_PER_INCH / (longest + LETTERS_OF_A_LINE))), len(legend) or 1)
    height += LEGEND_LINE_INCHES * -(-len(legend) // columns)
    most = int(width * LETTERS_PER_INCH) - LETTERS_OF_A_LINE
    with matplotlib.rc_context(STYLE):
        figure = Figure((width, height), layout="constrained", dpi=DOTS_PER_INCH)
        FigureCanvasAgg(figure)
        fill(figure)
        if legend:
            handles = [Line2D([], [], linewidth=1.8, label=_plain(t, most), **_look(i)) for i, t in legend.items()]
            figure.legend(handles=handles, loc="outside upper center", ncols=columns)
        image = io.BytesIO()
        figure.savefig(image, format="png", metadata={"Software": None})
    return image.getvalue()


def _plain(text: str, most: int) -> str:
    """The text's end if it is too long, and literally: what is between dollar signs would be a formula."""
    text = f"…{text[-most:]}" if len(text) > most else text
    text = text.replace("$", "\\$")
    return f"\u200b{text}" if text.startswith("_") else text  # matplotlib leaves a leading _ out of the legend
