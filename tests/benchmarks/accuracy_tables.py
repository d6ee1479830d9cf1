"""The figures of the accuracy benchmark as tables. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.benchmarks.machine import machine_line
from tests.benchmarks.output import number
from training.report.tables import NO_FIGURE, Table

AUC = ".4f"


def accuracy_tables(figures: Mapping[str, Any]) -> list[Table]:
    """figures: the JSON's. Tables without rows are left out."""
    tables = [models_table(figures), differences_table(figures["differences"]), amp_table(figures["amp"])]
    return [table for table in tables if table.rows]


def models_table(figures: Mapping[str, Any]) -> Table:
    settings, data, models = figures["settings"], figures["data"]["full"], figures["models"]
    epochs = max(len(model["test_auc_by_epoch_mean"]) for model in models.values())
    headings = [
        "model", *(f"epoch {n}" for n in range(1, epochs + 1)), "± seeds", "± test rows", "GAUC", "log loss",
        "chosen epoch", "AUC there", "samples/s", "s/run", "peak memory MB",
    ]  # fmt: skip
    rows = [[name, *_model_cells(model, epochs)] for name, model in models.items()]
    rows_of = data["rows"]
    note = (
        f"Test AUC, mean of {settings['seeds']} seeds. ± seeds: standard deviation over them, after the last epoch; "
        "± test rows: bootstrap standard error over users. The epoch is chosen by the validation AUC of runs with "
        "--validation_split; the AUC there is that of the runs on all training rows. "
        f"Data: {settings['data']}, {rows_of['train']:,} training and {rows_of['test']:,} test rows; batch "
        f"{settings['batch']}, lr {settings['lr']}. {machine_line(figures['machine'])}"
    )
    return Table("Test AUC", headings, rows, 1, note)


def differences_table(differences: Mapping[str, Mapping[str, Any]]) -> Table:
    headings = ["models", "verdict", "difference", "± seeds", "± test rows", "95 % from", "95 % to", "of each seed"]
    rows = []
    for name, d in differences.items():
        beyond = "higher" if d["low"] > 0 else "lower" if d["high"] < 0 else "not told apart"
        figures = [number(d["difference"], "+.4f"), number(d["std_seeds"], AUC), number(d["standard_error_rows"], AUC)]
        interval = [number(d["low"], "+.4f"), number(d["high"], "+.4f")]
        of_seeds = " ".join(number(value, "+.4f") for value in d["difference_of_seeds"])
        rows.append([name.replace("-", " - "), beyond, *figures, *interval, of_seeds])
    note = (
        "Test AUC of the first less that of the second after the last epoch, same seed and same rows paired. The "
        "interval joins both uncertainties: the spread of the seeds and a bootstrap over the users of the test rows."
    )
    return Table("Differences", headings, rows, 2, note)


def amp_table(amp: Mapping[str, Mapping[str, float]]) -> Table:
    headings = ["model", "float32 mean", "float32 std", "AMP mean", "AMP std", "KS statistic", "KS p-value"]
    keys = ("float32_mean", "float32_std", "amp_mean", "amp_std", "ks_statistic", "ks_p_value")
    rows = [[name, *(number(figures[key], AUC) for key in keys)] for name, figures in amp.items()]
    return Table("Impact of mixed precision on the test AUC", headings, rows, 1, "KS: exact two-sample test.")


def _model_cells(model: Mapping[str, Any], epochs: int) -> list[str]:
    means = model["test_auc_by_epoch_mean"]
    chosen = model["chosen_epoch"]
    return [
        *(number(value, AUC) for value in means), *[NO_FIGURE] * (epochs - len(means)),
        number(model["test_auc_std_seeds"], AUC), number(model["test_auc_standard_error_rows"], AUC),
        number(model["test_gauc"], AUC), number(model["test_loss"], AUC),
        NO_FIGURE if chosen is None else str(chosen), number(model["test_auc_at_chosen_epoch"], AUC),
        number(model["throughput"], ",.0f"), number(model["seconds"], ".0f"),
        number(model["peak_memory_bytes"] / 1e6, ",.0f"),
    ]  # fmt: skip
