"""raw logs -> Parquet -> TFRecord -> SIM -> SavedModel -> real Triton -> scores, as a newcomer runs it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from client import GrpcTransport, Scorer
from export.parity import parity_inputs
from training.checkpoint import open_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.server]


@pytest.fixture(scope="module")
def scored(small_path, small_server, recserve) -> tuple[Path, Path]:
    """The scores of the TFRecord files, and their summary."""
    files = small_path.work / "scores.csv", small_path.work / "summary.json"
    place = ("--data", small_path.data, "--url", small_server.url)
    recserve("score", *place, "--output_file", files[0], "--summary_file", files[1])
    return files


def test_server_and_training_agree(small_path, scored, assert_server_equals_training) -> None:
    figures = assert_server_equals_training(small_path.checkpoints, small_path.data, *scored)
    assert figures["trained_auc"] > 0.55


def test_parquet_and_tfrecord_score_alike(small_path, small_server, scored, recserve) -> None:
    file = small_path.work / "parquet.csv"
    recserve("score", "--data", small_path.parquet / "test", "--url", small_server.url, "--output_file", file)
    of_parquet, of_tfrecord = (
        [row["probability"] for row in csv.DictReader(path.open())] for path in (file, scored[0])
    )
    np.testing.assert_allclose(np.array(of_parquet, float), np.array(of_tfrecord, float), atol=1e-6)


def test_batch_of_one_and_unknown_ids(small_path, small_server) -> None:
    model = open_checkpoint(small_path.checkpoints).restore_model()
    inputs = {name: values[:3] for name, values in parity_inputs(model.served, 8).items()}
    with Scorer(GrpcTransport(small_server.url)) as scorer:
        together = scorer.score(inputs)
        one_by_one = [scorer.score({n: v[i : i + 1] for n, v in inputs.items()})[0] for i in range(3)]
        np.testing.assert_allclose(one_by_one, together, atol=1e-5)
        unknown = {n: np.where(np.arange(3) == 1, 10**9, v.T).T for n, v in inputs.items()}
        padding = {n: np.where(np.arange(3) == 1, 0, v.T).T for n, v in inputs.items()}
        np.testing.assert_array_equal(scorer.score(unknown), scorer.score(padding))
        np.testing.assert_allclose(scorer.score(unknown)[[0, 2]], together[[0, 2]], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"item_id_pos": np.ones((2, 99), np.int64)}, "item_id_pos"),
        ({"cat_id_trgt": np.ones((2, 1), np.int32)}, "cat_id_trgt"),
        ({"user_id": None}, "user_id"),
    ],
)
def test_bad_requests_are_invalid_argument_and_the_server_goes_on(small_server, small_path, change, named) -> None:
    model = open_checkpoint(small_path.checkpoints).restore_model()
    good = {name: values[:2] for name, values in parity_inputs(model.served, 8).items()}
    client = triton.InferenceServerClient(small_server.url)

    def infer(arrays: dict[str, np.ndarray]):
        inputs = []
        for name, array in arrays.items():
            inputs.append(triton.InferInput(name, array.shape, "INT32" if array.dtype == np.int32 else "INT64"))
            inputs[-1].set_data_from_numpy(array)
        return client.infer("sim", inputs)

    with pytest.raises(InferenceServerException) as caught:
        infer({name: array for name, array in {**good, **change}.items() if array is not None})
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert named in caught.value.message()
    assert infer(good).as_numpy("probability").shape == (2, 1)


def test_a_new_version_serves_after_a_restart_and_a_failed_export_changes_nothing(
    small_path, serve, recserve, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(small_path.models, models)
    recserve("export", "--checkpoint", small_path.checkpoints, "--model_repository", models)
    with pytest.raises(AssertionError, match="no checkpoint"):
        recserve("export", "--checkpoint", tmp_path / "none", "--model_repository", models)
    server = serve(models, tmp_path / "state")
    try:
        with Scorer(GrpcTransport(server.url)) as scorer:
            assert scorer.description.version == "2"
    finally:
        server.stop()


def test_sweep_measures_the_served_model(small_path, small_server, recserve, tmp_path: Path) -> None:
    output = recserve(
        "sweep",
        "--model_repository",
        small_path.models,
        "--url",
        small_server.url,
        "--output_dir",
        tmp_path / "report",
        "--batch_sizes",
        "1,8",
        "--concurrencies",
        "1",
        "--requests_per_point",
        50,
        "--locust_time_s",
        3,
    )
    manifest = json.loads((small_path.models / "sim" / "1" / "manifest.json").read_text())
    assert f"{manifest['metrics']['test_auc']:.4f}" in output
    assert list((tmp_path / "report").glob("*.html"))
    assert list((tmp_path / "report").glob("*.csv"))
