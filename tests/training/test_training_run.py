"""Whole runs of `recserve train`: epochs, logs, checkpoints, resuming, bad input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from recserve import cli
from tests.training.options import SMALL, SMALLEST
from training.checkpoint import open_checkpoint
from training.diagnosis import NotFiniteError
from training.errors import CheckpointError, DataError, SettingsError
from training.feature_spec import FeatureSpecError


def train(dataset: Path, tmp_path: Path, *options: object) -> Result:
    arguments = [
        "train",
        "--dataset_dir",
        dataset,
        "--results_dir",
        tmp_path / "results",
        "--seed",
        1,
        *SMALL,
        *options,
    ]
    result = CliRunner().invoke(cli, list(map(str, arguments)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def log_lines(tmp_path: Path) -> list[dict]:
    lines = (tmp_path / "results" / "log.json").read_text().splitlines()
    assert all(line.startswith("DLLL {") for line in lines)
    return [json.loads(line[5:]) for line in lines]


@pytest.fixture(scope="module")
def trained(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("trained")
    options = ("--global_batch_size", 64, "--epochs", 2, "--save_checkpoint_path", folder / "checkpoints")
    return folder, train(tiny_dataset, folder, *options)


def test_a_run_learns_and_prints_its_table(trained: tuple[Path, Result]) -> None:
    folder, result = trained
    assert result.exit_code == 0
    assert "| 2 | 600 |" in result.stdout
    assert f"checkpoint: {folder / 'checkpoints' / 'epoch-0002'}" in result.stdout
    first, last = [line["data"] for line in log_lines(folder) if line["type"] == "LOG" and len(line["step"]) == 1]
    assert last["train_loss"] < 0.98 * first["train_loss"]
    assert last["train_auc"] > first["train_auc"]


def test_log_lines_are_dlloggers(trained: tuple[Path, Result]) -> None:
    lines = log_lines(trained[0])
    assert lines[0]["step"] == "PARAMETER"
    assert lines[0]["data"]["global_batch_size"] == 64
    for line in lines:
        assert isinstance(line["timestamp"], str)
        assert isinstance(line["elapsedtime"], str)
    units = {line["metric"]: line["metadata"]["unit"] for line in lines if line["type"] == "METADATA"}
    assert units["throughput"] == "samples/s"
    logs = [line for line in lines if line["type"] == "LOG"][1:]
    steps = [line for line in logs if len(line["step"]) == 2]
    assert [line["step"] for line in steps] == [[e, s] for e in (1, 2) for s in range(1, 11)]
    assert set(steps[0]["data"]) == {"classification_loss", "dien_aux_loss", "total_loss", "samples/s"}
    epochs = [line for line in logs if len(line["step"]) == 1]
    assert [line["step"] for line in epochs] == [[1], [2]]
    names = {"throughput", "time", "train_auc", "test_auc", "test_gauc", "train_loss", "test_loss"}
    assert set(epochs[0]["data"]) == names | {"latency_mean", "latency_p90", "latency_p95", "latency_p99"}
    assert logs[-1]["step"] == []
    summary = {"time_to_train", "train_auc", "test_auc", "test_gauc", "train_loss", "test_loss"}
    assert set(logs[-1]["data"]) == summary


def test_the_checkpoint_folder_is_enough(trained: tuple[Path, Result], tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "best"
    shutil.copytree(trained[0] / "checkpoints" / "epoch-0002", moved)
    checkpoint = open_checkpoint(moved)
    assert checkpoint.epoch == 2
    assert checkpoint.metrics["rows"] == {"train": 600, "test": 200}
    assert checkpoint.restore_model().served[0].name == "user_id"


def test_defect_07_resuming_twice_goes_on_at_the_right_epoch(tiny_dataset: Path, tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    for epochs, expected in ((1, [1]), (2, [2]), (4, [3, 4])):
        resume = () if epochs == 1 else ("--load_checkpoint_path", checkpoints)
        options = (*SMALLEST, "--epochs", epochs, "--save_checkpoint_path", checkpoints)
        train(tiny_dataset, tmp_path, *options, *resume)
        logged = [line["step"][0] for line in log_lines(tmp_path) if line["type"] == "LOG" and len(line["step"]) == 1]
        assert logged == expected
    assert sorted(f.name for f in checkpoints.iterdir()) == ["epoch-0003", "epoch-0004"]
    finished = train(tiny_dataset, tmp_path, *SMALLEST, "--epochs", 4, "--load_checkpoint_path", checkpoints)
    assert "nothing left to train" in finished.stdout
    assert finished.exit_code == 0


def test_a_resumed_run_equals_one_that_was_not_interrupted(
    trained: tuple[Path, Result], tiny_dataset: Path, tmp_path: Path
) -> None:
    """Same seed, same data order by epoch, same optimizer state: the same weights to rounding."""
    size = ("--global_batch_size", 64)
    train(tiny_dataset, tmp_path, *size, "--epochs", 1, "--save_checkpoint_path", tmp_path / "halves")
    resume = ("--load_checkpoint_path", tmp_path / "halves", "--save_checkpoint_path", tmp_path / "halves")
    train(tiny_dataset, tmp_path, *size, "--epochs", 2, *resume)
    whole, halves = open_checkpoint(trained[0] / "checkpoints"), open_checkpoint(tmp_path / "halves")
    assert halves.metrics["test_auc"] == pytest.approx(whole.metrics["test_auc"], abs=2e-3)
    for a, b in zip(whole.restore_model().variables, halves.restore_model().variables, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-2)


@pytest.mark.parametrize("batch", [1, 600, 131072])
def test_defect_04_and_11_batch_of_one_and_runs_of_few_steps(write_dataset, tmp_path: Path, batch: int) -> None:
    dataset = write_dataset(train_rows=12, test_rows=4, longest=5)
    result = train(dataset, tmp_path, "--global_batch_size", batch, "--epochs", 1)
    assert "| 1 | 12 |" in result.stdout


SIM_OF_A_WIDTH_WITHOUT_KERNELS = ("--long_seq_length", 20, "--k", 50, "--embedding_dim", 4)


@pytest.mark.parametrize(("prebatch", "options"), [(1, SIM_OF_A_WIDTH_WITHOUT_KERNELS), (64, SMALLEST)])
def test_short_histories_and_prebatched_data_train(write_dataset, tmp_path: Path, prebatch: int, options) -> None:
    dataset = write_dataset(train_rows=200, test_rows=50, history=30, prebatch=prebatch)
    result = train(dataset, tmp_path, "--global_batch_size", 64, "--epochs", 1, *options)
    assert "| 1 | 200 |" in result.stdout


@pytest.mark.parametrize("flag", ["--amp", "--xla"])
@pytest.mark.slow
def test_amp_and_xla_train(tiny_dataset: Path, tmp_path: Path, flag: str) -> None:
    train(tiny_dataset, tmp_path, "--global_batch_size", 300, "--epochs", 2, flag)
    first, last = [line["data"] for line in log_lines(tmp_path) if line["type"] == "LOG" and len(line["step"]) == 1]
    assert last["train_loss"] < first["train_loss"]


def test_defect_15_cpu_only_needs_no_nvml() -> None:
    sources = (Path(__file__).parents[2] / "training").rglob("*.py")
    assert not [s for s in sources if "nvml" in s.read_text().lower()]


def test_bad_input_is_refused_before_anything_is_written(tiny_dataset: Path, tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    with pytest.raises(SettingsError, match="dataset_dir: there is no"):
        train(tmp_path, tmp_path)
    with pytest.raises(CheckpointError, match=r"no checkpoint: .*none is not a folder"):
        train(tiny_dataset, tmp_path, "--load_checkpoint_path", tmp_path / "none")
    broken = tmp_path / "broken"
    shutil.copytree(tiny_dataset, broken)
    (broken / "train.tfrecord").unlink()
    with pytest.raises(FeatureSpecError, match="no such file"):
        train(broken, tmp_path, "--save_checkpoint_path", checkpoints)
    with pytest.raises(SettingsError, match="has no step"):
        train(tiny_dataset, tmp_path, "--drop_remainder")
    assert not checkpoints.exists()


def test_paths_that_cannot_be_written_are_refused_before_training(tiny_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="save_checkpoint_path: cannot write to"):
        train(tiny_dataset, tmp_path, "--save_checkpoint_path", tmp_path / "file")
    with pytest.raises(SettingsError, match="results_dir: cannot write to"):
        train(tiny_dataset, tmp_path, "--results_dir", tmp_path / "file" / "x")


def test_a_single_class_gives_no_auc_and_valid_json(write_dataset, columns_of, write_records, tmp_path: Path) -> None:
    dataset = write_dataset(train_rows=30, test_rows=10)
    write_records(dataset / "test.tfrecord", {**columns_of(10, seed=2), "label": np.ones(10, np.int64)})
    train(dataset, tmp_path, *SMALLEST, "--epochs", 1, "--save_checkpoint_path", tmp_path / "ck")
    assert open_checkpoint(tmp_path / "ck").metrics["test_auc"] is None
    assert "NaN" not in (tmp_path / "results" / "log.json").read_text()


def test_a_second_run_does_not_mix_with_the_first(trained: tuple[Path, Result], tiny_dataset: Path) -> None:
    with pytest.raises(CheckpointError, match="already holds checkpoints of another run"):
        train(tiny_dataset, trained[0], "--save_checkpoint_path", trained[0] / "checkpoints")


def test_resuming_with_other_parameters_or_data_names_the_differences(
    trained: tuple[Path, Result], tiny_dataset: Path, write_dataset, tmp_path: Path
) -> None:
    load = ("--load_checkpoint_path", trained[0] / "checkpoints")
    with pytest.raises(CheckpointError, match="embedding_dim: checkpoint has 8, this run 16"):
        train(tiny_dataset, tmp_path, *load, "--embedding_dim", 16)
    with pytest.raises(
        CheckpointError, match=r"feature item_id_pos: .*this run has cardinality 120, dimensions \[40\]"
    ):
        train(write_dataset(10, 10, history=40), tmp_path, *load, "--long_seq_length", 30)


def test_damaged_checkpoints_are_refused(trained: tuple[Path, Result], tmp_path: Path) -> None:
    folder = tmp_path / "epoch-0002"
    shutil.copytree(trained[0] / "checkpoints" / "epoch-0002", folder)
    data = next(folder.glob("variables.data-*"))
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"epoch-0002: the weights are damaged"):
        open_checkpoint(folder).restore_model()
    (folder / "metrics.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"metrics\.json: damaged"):
        open_checkpoint(folder)
    (folder / "metrics.json").unlink()
    with pytest.raises(CheckpointError, match=r"metrics\.json missing"):
        open_checkpoint(folder)


def test_a_loss_that_is_not_finite_stops_the_run(tiny_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFiniteError, match="epoch 1, step"):
        train(tiny_dataset, tmp_path, *SMALLEST, "--lr", 1e38, "--global_batch_size", 32)


def test_an_unknown_id_in_the_data_stops_the_run(write_dataset, columns_of, write_records, tmp_path: Path) -> None:
    dataset = write_dataset(train_rows=30, test_rows=10)
    columns = columns_of(10, seed=2)
    columns["user_id"][7] = 51
    write_records(dataset / "test.tfrecord", columns)
    with pytest.raises(DataError, match=r"test\.tfrecord, row 7: feature user_id: got id 51, expected 0\.\.50"):
        train(dataset, tmp_path, *SMALLEST, "--epochs", 1)


def test_an_epoch_of_several_passes_and_a_falling_schedule(write_dataset, tmp_path: Path) -> None:
    """Two passes of 100 rows in batches of 64: the second pass starts a batch of its own."""
    dataset = write_dataset(train_rows=100, test_rows=10, history=30, longest=5)
    options = (*SMALLEST, "--global_batch_size", 64, "--epochs", 1, "--repeat_count", 2)
    result = train(dataset, tmp_path, *options, "--lr_schedule", "cosine", "--no_shuffle")
    assert "| 1 | 200 |" in result.stdout
    steps = [line["step"] for line in log_lines(tmp_path) if line["type"] == "LOG" and len(line["step"]) == 2]
    assert steps == [[1, 1], [1, 2], [1, 3], [1, 4]]
    spec = dataset / "feature_spec.yaml"
    spec.write_text(spec.read_text().replace("rows:", "other:"))
    with pytest.raises(SettingsError, match="lr_schedule: got cosine, but the number of training rows is unknown"):
        train(dataset, tmp_path, *options, "--lr_schedule", "cosine")
