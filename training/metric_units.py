"""The metadata lines of a log: the unit of every metric that a run writes."""

from __future__ import annotations

from training.dllogger import DLLogger

LATENCIES = dict.fromkeys(("latency_mean", "latency_p90", "latency_p95", "latency_p99"), "ms")
TRAINING = {
    "classification_loss": None, "dien_aux_loss": None, "total_loss": None, "samples/s": "samples/s",
    "throughput": "samples/s", "time": "s", "time_to_train": "s", "train_auc": None, "train_loss": None,
    "test_auc": None, "test_gauc": None, "test_loss": None, "validation_auc": None, "validation_gauc": None,
    "validation_loss": None, "best_epoch": None, "best_test_auc": None, "best_test_gauc": None, "best_test_loss": None,
    **LATENCIES,
}  # fmt: skip
BENCHMARK = {
    "samples/s": "samples/s", "throughput": "samples/s", "time": "s", **LATENCIES,
    "throughput_without_input": "samples/s", "input_share": None, "peak_memory": "bytes",
    "flops_per_sample": "FLOP", "matrix_product_peak": "FLOP/s", "share_of_peak": None,
}  # fmt: skip


def log_units(log: DLLogger, units: dict[str, str | None] | None = None) -> None:
    for metric, unit in (TRAINING if units is None else units).items():
        log.metadata(metric, unit=unit)
