"""`--mode inference` and `--benchmark`: what is measured, logged and printed; each step waits for the device."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from training import benchmark
from training.errors import SettingsError

SHORT = ("--long_seq_length", 12, "--k", 5)
ANY_MODEL = ("--model_type", "din")  # for what does not depend on the model
LATENCIES = {"latency_mean", "latency_p90", "latency_p95", "latency_p99"}
MEASURE = ("--benchmark", "--benchmark_warmup_steps", 2, "--benchmark_steps", 9)


@pytest.mark.parametrize("mode", ["train", "inference"])
def test_a_small_dataset_goes_round_again_for_the_steps_that_were_asked_for(
    fast_dataset: Path, tmp_path: Path, train, log_of, mode: str
) -> None:
    """1,600 training rows and 100 test rows are fewer than 11 batches of 64, 400."""
    batch = 400 if mode == "train" else 64
    options = (*SHORT, "--mode", mode, "--global_batch_size", batch, *MEASURE)
    result = train(fast_dataset, tmp_path, *options, "--drop_remainder")
    assert f": 9 steps of {batch} rows after 2 warmup steps, 1 process of" in result.stdout
    parameters, *steps, summary = log_of(tmp_path)
    assert parameters["data"]["cpus"] >= 1
    assert [line["step"] for line in steps] == [[1, s] for s in range(1, 12)]
    assert all(set(line["data"]) == {"samples/s"} for line in steps)
    assert summary["step"] == []
    figures = summary["data"]
    assert {"throughput", "time"} | LATENCIES <= set(figures)
    rows = 9 * 400 if mode == "train" else 64 * 5 + 36 * 4  # from the third step on: 64, 36, 64, …
    assert figures["throughput"] * figures["time"] == pytest.approx(rows)
    assert figures["latency_mean"] * 9 / 1e3 == pytest.approx(figures["time"])
    assert figures["throughput_without_input"] >= figures["throughput"]
    assert figures["peak_memory"] > 1e8
    achieved = figures["flops_per_sample"] * figures["throughput"]
    assert figures["share_of_peak"] == pytest.approx(achieved / figures["matrix_product_peak"])
    assert re.search(r"\| share of that peak \| \d+\.\d% \|", result.stdout)
    assert not (tmp_path / "results" / "test_scores.npz").exists()


@pytest.mark.parametrize(("before", "after"), [(3e9, 2e9), (2e9, 3e9)])
def test_the_larger_of_the_peaks_before_and_after_the_steps_counts(
    fast_dataset: Path, tmp_path: Path, train, log_of, monkeypatch: pytest.MonkeyPatch, before: float, after: float
) -> None:
    """A real measurement may meet a busy machine; here both are set."""
    peaks = {True: before, False: after}

    def peak(_: object) -> float:
        return peaks[not (tmp_path / "results" / "log.json").exists()]

    monkeypatch.setattr(benchmark, "matrix_product_peak", peak)
    train(fast_dataset, tmp_path, *SHORT, "--mode", "inference", "--global_batch_size", 50)
    figures = log_of(tmp_path)[-1]["data"]
    assert figures["matrix_product_peak"] == 3e9
    assert figures["share_of_peak"] == pytest.approx(figures["flops_per_sample"] * figures["throughput"] / 3e9)


def test_inference_without_benchmark_is_one_pass_over_the_test_rows(
    fast_dataset: Path, tmp_path: Path, train, log_of
) -> None:
    train(fast_dataset, tmp_path, *ANY_MODEL, "--mode", "inference", "--global_batch_size", 32, "--amp")
    _, *steps, summary = log_of(tmp_path)
    assert [line["step"] for line in steps] == [[1, 1], [1, 2], [1, 3], [1, 4]]
    assert set(summary["data"]) >= {"throughput", "time"} | LATENCIES
    lines = (tmp_path / "results" / "log.json").read_text().splitlines()
    metadata = [json.loads(line[5:]) for line in lines if '"METADATA"' in line]
    assert {m["metric"]: m["metadata"]["unit"] for m in metadata}["peak_memory"] == "bytes"


@pytest.mark.parametrize(("batch", "rows"), [(1, 5), (1, 1), (8, 3)])
def test_defect_11_fewer_steps_than_the_warmup_are_measured(
    write_dataset, tmp_path: Path, train, batch: int, rows: int
) -> None:
    """The last step counts, the others warm up."""
    dataset = write_dataset(train_rows=12, test_rows=rows, history=20, longest=8)
    result = train(dataset, tmp_path, *ANY_MODEL, "--mode", "inference", "--global_batch_size", batch)
    assert f": 1 steps of {batch} rows after {-(-rows // batch) - 1} warmup steps" in result.stdout


def test_a_benchmark_refuses_what_it_cannot_do(fast_dataset: Path, tmp_path: Path, train) -> None:
    with pytest.raises(SettingsError, match="save_checkpoint_path: a benchmark writes no checkpoint"):
        train(fast_dataset, tmp_path, *ANY_MODEL, *MEASURE, "--save_checkpoint_path", tmp_path / "ck")
    with pytest.raises(SettingsError, match="an epoch has no step: drop_remainder leaves no batch of 4000 rows"):
        train(fast_dataset, tmp_path, *ANY_MODEL, *MEASURE, "--drop_remainder", "--global_batch_size", 4000)


def test_weights_of_a_checkpoint_can_be_measured(fast_dataset: Path, tmp_path: Path, train) -> None:
    options = (*ANY_MODEL, "--global_batch_size", 400)
    train(fast_dataset, tmp_path, *options, "--epochs", 1, "--save_checkpoint_path", tmp_path / "ck")
    load = ("--load_checkpoint_path", tmp_path / "ck")
    result = train(fast_dataset, tmp_path, *options, "--mode", "inference", *load)
    assert result.exit_code == 0
