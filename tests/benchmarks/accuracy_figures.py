"""Trained runs -> AUC by epoch, its spread over seeds and test rows, differences between models. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tests.benchmarks.accuracy_runs import Trained
from tests.benchmarks.child import BenchmarkError
from tests.benchmarks.kolmogorov_smirnov import two_sample_ks
from tests.benchmarks.output import deviation, mean
from training.report.bootstrap import DEFAULT_RESAMPLES, auc_standard_error, paired_difference
from training.report.score_file import on_the_rows_of

NORMAL_95 = 1.96


def figures_of(runs: Sequence[Trained], models: Sequence[str], resamples: int = DEFAULT_RESAMPLES) -> dict[str, Any]:
    """The keys models, differences and amp of the JSON. runs: any order; models: in the order of the comparison."""
    full = {model: _select(runs, model, "float32", "full") for model in models}
    validation = {model: _select(runs, model, "float32", "validation") for model in models}
    amp = {model: _select(runs, model, "amp", "full") for model in models}
    return {
        "models": {m: model_figures(full[m], validation[m], resamples) for m in models},
        "differences": {
            f"{first}-{second}": difference_figures(full[first], full[second], resamples)
            for first, second in itertools.combinations(models, 2)
        },
        "amp": {m: amp_figures(full[m], amp[m]) for m in models if amp[m]},
    }


def model_figures(full: Sequence[Trained], validation: Sequence[Trained], resamples: int) -> dict[str, Any]:
    """Of one model's seeds. The test rows have no part in choosing the epoch.

    full, validation: runs of the two protocols; validation may be empty.
    """
    by_epoch = _by_epoch(full, "test_auc")
    final = [run.epochs[max(run.epochs)] for run in full]
    errors = [auc_standard_error(r.scores.label, r.scores.logit, r.scores.user, resamples) for r in full]
    chosen = _chosen_epoch(validation)
    at_chosen = by_epoch[chosen - 1] if chosen and chosen <= len(by_epoch) else []
    return {
        "test_auc_by_epoch": by_epoch,
        "test_auc_by_epoch_mean": [mean(seeds) for seeds in by_epoch],
        "test_auc": mean(by_epoch[-1]),
        "test_auc_std_seeds": deviation(by_epoch[-1]),
        "test_auc_standard_error_rows": mean(errors),
        "test_gauc": mean([epoch.get("test_gauc", math.nan) for epoch in final]),
        "test_loss": mean([epoch["test_loss"] for epoch in final]),
        "validation_auc_by_epoch_mean": [mean(seeds) for seeds in _by_epoch(validation, "validation_auc")],
        "chosen_epoch": chosen,
        "test_auc_at_chosen_epoch": mean(at_chosen),
        "test_auc_at_chosen_epoch_std_seeds": deviation(at_chosen),
        "throughput": mean([epoch["throughput"] for run in full for epoch in run.epochs.values()]),
        "seconds": mean([run.cost.seconds for run in full]),
        "peak_memory_bytes": max(run.cost.peak_memory_bytes for run in full),
    }


def difference_figures(first: Sequence[Trained], second: Sequence[Trained], resamples: int) -> dict[str, Any]:
    """Test AUC of the first model less that of the second after the last epoch, the same seeds and rows paired.

    standard_error: of the mean over the seeds; it joins the spread over seeds, s²/n, and the mean bootstrap variance
    over test rows, which all seeds share. low, high: 1.96 of it to both sides. With few seeds s is itself unsure.
    """
    differences, errors = [], []
    for one, other in zip(first, second, strict=True):
        scores = on_the_rows_of(other.scores, one.scores)
        if scores is None:
            raise BenchmarkError(f"{one.training.name}, {other.training.name}: their test rows are not the same")
        base = other.scores
        paired = paired_difference(base.label, base.logit, scores.logit, base.user, resamples)
        differences.append(paired.difference)
        errors.append(paired.standard_error)
    spread = deviation(differences)
    of_seeds = 0.0 if math.isnan(spread) else spread**2 / len(differences)
    error = math.sqrt(of_seeds + mean([e**2 for e in errors]))
    difference = mean(differences)
    return {
        "difference": difference,
        "difference_of_seeds": differences,
        "std_seeds": spread,
        "standard_error_rows": math.sqrt(mean([e**2 for e in errors])),
        "standard_error": error,
        "low": difference - NORMAL_95 * error,
        "high": difference + NORMAL_95 * error,
    }


def amp_figures(float32: Sequence[Trained], amp: Sequence[Trained]) -> dict[str, float]:
    """As in the seed's table on the impact of mixed precision: AUC after the last epoch over seeds."""
    samples = [[run.epochs[max(run.epochs)]["test_auc"] for run in runs] for runs in (float32, amp)]
    test = two_sample_ks(*samples)
    return {
        "float32_mean": mean(samples[0]),
        "float32_std": deviation(samples[0]),
        "amp_mean": mean(samples[1]),
        "amp_std": deviation(samples[1]),
        "ks_statistic": test.statistic,
        "ks_p_value": test.p_value,
    }


def _select(runs: Sequence[Trained], model: str, precision: str, protocol: str) -> list[Trained]:
    wanted = (model, precision, protocol)
    found = [r for r in runs if (r.training.model, r.training.precision, r.training.protocol) == wanted]
    return sorted(found, key=lambda run: run.training.seed)


def _by_epoch(runs: Sequence[Trained], metric: str) -> list[list[float]]:
    """[epochs][seeds]; as many epochs as all runs have."""
    count = min((len(run.epochs) for run in runs), default=0)
    return [[run.epochs[epoch].get(metric, math.nan) for run in runs] for epoch in range(1, count + 1)]


def _chosen_epoch(validation: Sequence[Trained]) -> int | None:
    """With the highest validation AUC, mean of the seeds."""
    means: Mapping[int, float] = {n: mean(s) for n, s in enumerate(_by_epoch(validation, "validation_auc"), start=1)}
    known = {epoch: value for epoch, value in means.items() if math.isfinite(value)}
    return max(known, key=lambda epoch: known[epoch]) if known else None
