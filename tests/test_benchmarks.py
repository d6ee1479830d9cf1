"""The parts of tests/benchmarks that compute; and both benchmarks once, as small as they can be."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.accuracy_figures import difference_figures, figures_of
from tests.benchmarks.accuracy_runs import Trained, Training, plan
from tests.benchmarks.accuracy_tables import accuracy_tables
from tests.benchmarks.child import BenchmarkError, Cost, run_child
from tests.benchmarks.datasets import Stage
from tests.benchmarks.fingerprints import raw_fingerprint, settings_fingerprint
from tests.benchmarks.kolmogorov_smirnov import KsResult, two_sample_ks
from tests.benchmarks.output import Progress, deviation, json_line, model_names
from tests.benchmarks.speed_runs import in_rounds, medians, scaling_variants, training_variants
from tests.benchmarks.speed_table import nested, speed_table, with_speedup
from training.metrics import roc_auc
from training.report.score_file import TestScores as ScoresOfTestRows

ROOT = Path(__file__).parents[1]
MACHINE = {
    "cpus": 2, "processor": "x", "memory_bytes": 8e9, "load_average_1_min": 0.1, "python": "3.11.9",
    "tensorflow": "2.17.1", "recserve": "0.1.0", "native_kernels": True,
}  # fmt: skip
FIGURES = {
    "throughput": 100.0, "time": 2.0, "latency_mean": 5.0, "latency_p90": 6.0, "latency_p95": 7.0, "latency_p99": 8.0,
    "throughput_without_input": 125.0, "input_share": 0.2, "peak_memory": 1e9, "flops_per_sample": 2e6,
    "matrix_product_peak": 4e9, "share_of_peak": 0.05,
}  # fmt: skip


@pytest.mark.parametrize(
    ("shift", "statistic", "p_value"), [(2, 0.2, 0.9945), (4, 0.4, 0.4175), (6, 0.6, 0.0524), (7, 0.7, 0.0123)]
)
def test_ks_gives_the_p_values_of_the_published_table_for_ten_seeds(
    shift: int, statistic: float, p_value: float
) -> None:
    """NVIDIA's table on the impact of mixed precision has these pairs."""
    result = two_sample_ks(range(10), [value + shift - 0.5 for value in range(10)])
    assert result.statistic == pytest.approx(statistic)
    assert result.p_value == pytest.approx(p_value, abs=5e-5)


def test_ks_of_samples_apart_equal_and_of_different_sizes() -> None:
    assert two_sample_ks([1, 1, 2], [1, 1, 2]) == KsResult(0.0, 1.0)
    apart = two_sample_ks([1, 2], [3, 4, 5])  # 2 of the 10 orders of 2 and 3 values separate them
    assert apart.statistic == 1.0
    assert apart.p_value == pytest.approx(2 / 10)
    with pytest.raises(ValueError, match="two samples of finite numbers"):
        two_sample_ks([], [1.0])


def test_ks_p_value_is_the_share_of_orders_that_reach_the_statistic() -> None:
    orders = [(chosen, sorted({*range(8)} - {*chosen})) for chosen in itertools.combinations(range(8), 3)]
    results = [two_sample_ks(*order) for order in orders]
    for result in results:
        reached = [other.statistic >= result.statistic - 1e-12 for other in results]
        assert result.p_value == pytest.approx(np.mean(reached))


def test_the_json_line_is_one_line_of_standard_json() -> None:
    line = json_line({"a": {"b": [math.nan, np.float32(0.5)]}, "c": (np.int64(3), math.inf), "d": None, "e": "x\ny"})
    assert "\n" not in line
    parsed = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert parsed == {"format": 1, "a": {"b": [None, 0.5]}, "c": [3, None], "d": None, "e": "x\ny"}


def test_a_child_s_time_and_memory_are_its_own(tmp_path: Path) -> None:
    small = run_child([sys.executable, "-c", "import time; time.sleep(0.2)"], tmp_path / "small.log")
    large = run_child([sys.executable, "-c", "a = b'x' * 500_000_000; print('made')"], tmp_path / "large.log")
    assert 0.2 <= small.seconds < 20
    assert large.peak_memory_bytes > 500e6
    assert (tmp_path / "large.log").read_text() == "made\n"


def test_a_failing_child_shows_its_last_lines(tmp_path: Path) -> None:
    code = "import sys; print(*range(100), sep='\\n'); sys.exit('the reason')"
    with pytest.raises(BenchmarkError, match="exit code 1") as error:
        run_child([sys.executable, "-c", code], tmp_path / "log")
    assert "the reason" in str(error.value)
    assert "    99\n" in str(error.value)
    assert "    60\n" not in str(error.value)
    with pytest.raises(BenchmarkError, match="was ended by signal 9"):
        run_child([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], tmp_path / "log")


def test_sigterm_ends_the_child_too(tmp_path: Path) -> None:
    sleeper = "import os, time; print(os.getpid(), flush=True); time.sleep(100)"
    parent = (
        "import sys; from pathlib import Path; from tests.benchmarks.child import run_child, stop_on_sigterm; "
        f"stop_on_sigterm(); run_child([sys.executable, '-c', {sleeper!r}], Path({str(tmp_path / 'log')!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", parent], cwd=ROOT) as process:
        deadline = time.monotonic() + 30
        while not (tmp_path / "log").is_file() or not (tmp_path / "log").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "log").read_text()), 0)


def test_progress_estimates_from_children_of_the_same_kind(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(["sim", "din", "sim", "din"])
    assert progress.seconds_left() is None
    progress.begin("sim seed 1")
    progress.end(100.0, "test AUC 0.8")
    assert progress.seconds_left() == 300.0  # of din nothing is known yet
    progress.skip("din seed 1", 10.0)
    assert progress.seconds_left() == 110.0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "[1/4] sim seed 1" in shown.err
    assert "[2/4] din seed 1: kept from an earlier call" in shown.err


def test_rounds_alternate_and_turn_round() -> None:
    assert [v.name for v in in_rounds(training_variants(["sim"], 8, 2), 3)] == [
        "training sim float32", "training sim amp", "training sim amp", "training sim float32",
        "training sim float32", "training sim amp",
    ]  # fmt: skip


def test_the_speed_table_has_a_row_for_each_variant_and_the_json_its_medians() -> None:
    variants = [*training_variants(["sim"], 8, 2), *scaling_variants("sim", 8, 1)]
    runs = {v.place: [FIGURES, {**FIGURES, "throughput": 100.0 + 100 * v.processes}] for v in variants}
    tree = nested(runs)
    assert tree["training"]["sim"]["amp"]["throughput_of_runs"] == [100.0, 200.0]
    assert tree["training"]["sim"]["amp"]["throughput"] == 150.0
    scaling = with_speedup(tree["scaling"])
    assert scaling["sim"]["speedup"] == pytest.approx(200 / 150)
    figures = {
        "machine": MACHINE, "settings": {"data": "raw", "batch": 8, "steps": 2, "rounds": 2},
        "data": {"rows": {"train": 1000}, "history_fill": 0.6}, "scaling": scaling,
        "epoch": {"sim": {"seconds": 3.0, "peak_memory_bytes": 5e8, **FIGURES}},
    }  # fmt: skip
    table = speed_table(runs, {"convert": Stage(1.5, 300_000_000, 10)}, figures)
    assert {len(row) for row in table.rows} == {len(table.headings)}
    names = ["convert", *(v.name for v in variants), "epoch sim float32, with evaluation"]
    assert [row[0] for row in table.rows] == names
    assert "1.33 times for sim" in table.note
    line = next(line for line in table.markdown().splitlines() if "training sim amp" in line)
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        "training sim amp", "150", "100 200", "125", "20.0%", "2.0", "5.0", "8.0", "2.00", "4", "5.0%", "1,000",
    ]  # fmt: skip


def test_a_figure_that_one_run_lacks_has_no_median() -> None:
    assert math.isnan(medians([{"a": 1.0}, {}])["a"])


def test_model_names_are_checked() -> None:
    assert model_names("sim, din") == ["sim", "din"]
    for wrong in ("sim,sim", "dlrm", ""):
        with pytest.raises(BenchmarkError, match="models: expected some of sim, din, dien"):
            model_names(wrong)


def test_fingerprints_follow_contents(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="raw Amazon files"):
        raw_fingerprint(tmp_path)
    (tmp_path / "reviews_A.json").write_text("{}")
    first = raw_fingerprint(tmp_path)
    assert raw_fingerprint(tmp_path) == first
    (tmp_path / "reviews_A.json").write_text("[]")
    assert raw_fingerprint(tmp_path) != first
    assert settings_fingerprint({"a": 1, "b": 2}) == settings_fingerprint({"b": 2, "a": 1})


def trained(model: str, seed: int, noise: float, precision: str = "float32", protocol: str = "full") -> Trained:
    """Scores of 200 users with two rows each; the less noise, the better. Epoch 2 has the best validation AUC."""
    rng = np.random.default_rng(seed)
    label = np.tile([1, 0], 200)
    logit = label + noise * np.random.default_rng([seed, len(model)]).normal(size=400)
    auc = roc_auc(label, logit)
    epochs = {
        n: {
            "test_auc": auc - 0.01 * (3 - n), "test_gauc": auc, "test_loss": 0.5, "throughput": 1000.0,
            "validation_auc": (0.7, 0.8, 0.75)[n - 1] + rng.normal() * 1e-3,
        }
        for n in (1, 2, 3)
    }  # fmt: skip
    scores = ScoresOfTestRows(label, logit, np.repeat(np.arange(200), 2), 3)
    return Trained(Training(model, seed, precision, protocol), epochs, {}, scores, Cost(2.0, 10**9), "code")


def accuracy_runs(seeds: int) -> list[Trained]:
    noises = {"sim": 0.4, "dien": 0.8, "din": 0.8}
    return [
        trained(t.model, t.seed, noises[t.model], t.precision, t.protocol)
        for t in plan(["sim", "dien", "din"], seeds, amp=True, validation=True)
    ]


def test_accuracy_figures_and_tables_over_seeds() -> None:
    figures = figures_of(accuracy_runs(3), ["sim", "dien", "din"], resamples=50)
    sim = figures["models"]["sim"]
    finals = [run.epochs[3]["test_auc"] for run in accuracy_runs(3) if run.training.name.startswith("sim float32 full")]
    assert sim["test_auc_by_epoch"][2] == finals
    assert sim["test_auc"] == pytest.approx(np.mean(finals))
    assert sim["test_auc_std_seeds"] == pytest.approx(np.std(finals, ddof=1))
    assert sim["chosen_epoch"] == 2
    assert sim["test_auc_at_chosen_epoch"] == pytest.approx(np.mean(finals) - 0.01)
    assert list(figures["differences"]) == ["sim-dien", "sim-din", "dien-din"]
    assert figures["differences"]["sim-dien"]["low"] > 0
    assert figures["amp"]["sim"]["ks_p_value"] == 1.0  # the same scores under both names
    whole = {
        **figures, "machine": MACHINE, "data": {"full": {"rows": {"train": 10, "test": 400}}},
        "settings": {"data": "raw", "seeds": 3, "batch": 8, "lr": 0.01},
    }  # fmt: skip
    tables = accuracy_tables(whole)
    assert [table.title for table in tables] == [
        "Test AUC", "Differences", "Impact of mixed precision on the test AUC",
    ]  # fmt: skip
    for table in tables:
        assert {len(row) for row in table.rows} == {len(table.headings)}
    assert tables[1].rows[0][:2] == ["sim - dien", "higher"]
    json.loads(json_line(whole))


def test_one_seed_has_no_spread_and_no_validation_no_chosen_epoch() -> None:
    runs = [run for run in accuracy_runs(1) if run.training.protocol == "full"]
    figures = figures_of(runs, ["sim", "dien"], resamples=50)
    assert math.isnan(figures["models"]["sim"]["test_auc_std_seeds"])
    assert figures["models"]["sim"]["chosen_epoch"] is None
    difference = figures["differences"]["sim-dien"]
    assert difference["standard_error"] == pytest.approx(difference["standard_error_rows"])
    assert math.isnan(deviation([1.0]))


def test_runs_on_other_test_rows_are_not_compared() -> None:
    one, other = trained("sim", 1, 0.5), trained("dien", 1, 0.5)
    fewer = ScoresOfTestRows(other.scores.label[2:], other.scores.logit[2:], None)
    changed = Trained(other.training, other.epochs, {}, fewer, other.cost, "code")
    with pytest.raises(BenchmarkError, match="their test rows are not the same"):
        difference_figures([one], [changed], 10)


@pytest.fixture(scope="module")
def tiny_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "shop"
    command = [sys.executable, "-m", "recserve", "generate", "--output_path", str(folder), "--users", "60"]
    subprocess.run([*command, "--items", "100", "--categories", "8"], check=True, cwd=ROOT, capture_output=True)
    return folder


def benchmark(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"tests.benchmarks.{name}", *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600, check=False)


@pytest.mark.slow
def test_bench_accuracy_goes_on_after_a_failure(tiny_raw: Path, tmp_path: Path) -> None:
    options = [
        "--data", str(tiny_raw), "--seeds", "1", "--epochs", "1", "--models", "din", "--batch", "64",
        "--shortest", "5", "--prefixes", "5", "--work", str(tmp_path),
    ]  # fmt: skip
    failed = benchmark("bench_accuracy", *options, "--train_options", "--lr_schedule steps")
    assert failed.returncode == 1
    assert "Invalid value for '--lr_schedule'" in failed.stderr
    assert failed.stdout == ""
    first = benchmark("bench_accuracy", *options)
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("kept from an earlier call") == 4  # the datasets of the call that failed
    again = benchmark("bench_accuracy", *options)
    assert again.stderr.count("kept from an earlier call") == 6
    figures, repeated = (json.loads(done.stdout.splitlines()[-1]) for done in (first, again))
    assert figures["models"] == repeated["models"]
    assert 0 < figures["models"]["din"]["test_auc"] < 1
    assert figures["models"]["din"]["chosen_epoch"] == 1


@pytest.mark.slow
def test_bench_training_measures_from_raw_files_to_one_json_object(tiny_raw: Path, tmp_path: Path) -> None:
    done = benchmark(
        "bench_training", "--data", str(tiny_raw), "--models", "din", "--batch", "64", "--steps", "2", "--warmup", "1",
        "--rounds", "1", "--no_scaling", "--shortest", "5", "--work", str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert set(figures["training"]["din"]) == {"float32", "amp"}
    assert set(figures["inference"]["din"]) == {"batch_4096", "batch_64"}
    assert figures["training"]["din"]["float32"].keys() >= FIGURES.keys()
    assert figures["preparation"]["convert"]["peak_memory_bytes"] > 0
    assert figures["scaling"] == {"why_not": "left out"}
    assert "| training din float32 " in done.stdout
