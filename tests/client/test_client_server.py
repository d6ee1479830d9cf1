"""Against a real Triton."""

from __future__ import annotations

import csv
import gc
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from click.testing import CliRunner

from client import (
    DeadlineExceeded,
    GrpcTransport,
    InvalidInput,
    ModelNotFound,
    RetryPolicy,
    Scorer,
    ServerUnavailable,
)
from client.cli import score
from client.metrics import log_loss_of_logits, roc_auc

ROWS = 151
pytestmark = pytest.mark.server


def run(*arguments: Any) -> Any:
    result = CliRunner().invoke(score, [str(a) for a in arguments])
    if result.exception is not None:
        raise result.exception
    return result


@pytest.fixture(scope="module")
def columns(tiny_model: Any) -> dict[str, np.ndarray]:
    rows: dict[str, np.ndarray] = tiny_model.rows(ROWS, seed=5)
    return rows


@pytest.fixture(scope="module")
def dataset(tools: Any, tiny_model: Any, columns: dict[str, np.ndarray], tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("scored")
    tools.write_tfrecord(folder / "test.tfrecord", columns, prebatch=20)
    tiny_model.spec.save(folder / "feature_spec.yaml")
    tools.write_parquet(folder / "rows.parquet", columns)
    tools.write_json_lines(folder / "rows.jsonl", columns)
    return folder


def test_scores_are_the_formulas(tiny_server: str, tiny_model: Any, columns: dict[str, np.ndarray]) -> None:
    with Scorer(GrpcTransport(tiny_server)) as scorer:
        description = scorer.description
        outputs = scorer.score_outputs(tiny_model.served(columns), ["probability", "logit"])
    expected = tiny_model.logits(columns)
    np.testing.assert_allclose(outputs["logit"], expected, atol=1e-6)
    np.testing.assert_allclose(outputs["probability"], 1 / (1 + np.exp(-expected)), atol=1e-6)
    assert (description.max_batch_size, description.version) == (32, "1")
    assert description.inputs["item_id_pos"].shape == (12,)


def test_unknown_ids_score_as_padding(tiny_server: str, tiny_model: Any) -> None:
    rows = tiny_model.served(tiny_model.rows(2))
    rows["user_id"] = np.array([10**9, 0])
    rows["item_id_trgt"] = np.array([-5, 0])
    for name in ("cat_id_trgt", "item_id_pos", "cat_id_pos"):
        rows[name][1] = rows[name][0]
    with Scorer(GrpcTransport(tiny_server)) as scorer:
        first, second = scorer.score(rows)
    assert first == second


def test_errors_of_the_server_are_mapped_with_their_cause(tiny_server: str, tiny_model: Any) -> None:
    transport = GrpcTransport(tiny_server)
    with pytest.raises(ModelNotFound, match="'other' is not found") as caught:
        transport.describe("other", "", 5.0)
    assert caught.value.__cause__ is not None
    with pytest.raises(ModelNotFound, match="version 9"):
        transport.describe("sim", "9", 5.0)
    rows = {name: value.reshape(1, -1) for name, value in tiny_model.served(tiny_model.rows(1)).items()}
    with pytest.raises(InvalidInput, match="user_id"):
        transport.infer("sim", "", {**rows, "user_id": rows["user_id"].astype(np.int32)}, ["logit"], 5.0)
    assert transport.infer("sim", "", rows, ["logit"], 5.0)["logit"].shape == (1, 1)  # it goes on


def test_no_answer_in_time_is_deadline_exceeded(tiny_model: Any) -> None:
    """A gRPC server that answers no call before the test is over: a short deadline against Triton would be a race."""
    rows = {name: value.reshape(1, -1) for name, value in tiny_model.served(tiny_model.rows(1)).items()}
    over = threading.Event()
    wait = grpc.unary_unary_rpc_method_handler(lambda request, context: over.wait(30) and b"")
    slow = grpc.server(ThreadPoolExecutor(1))
    slow.add_generic_rpc_handlers([_AnyMethod(wait)])
    port = slow.add_insecure_port("127.0.0.1:0")
    slow.start()
    try:
        with pytest.raises(DeadlineExceeded):
            GrpcTransport(f"127.0.0.1:{port}").infer("sim", "", rows, ["logit"], 0.3)
    finally:
        over.set()
        slow.stop(None)


class _AnyMethod(grpc.GenericRpcHandler):
    def __init__(self, handler: grpc.RpcMethodHandler) -> None:
        self._handler = handler

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return self._handler


def test_nobody_there_is_unavailable_with_a_hint() -> None:
    few = RetryPolicy(attempts=2, first_wait_s=0.01)
    with (
        Scorer(GrpcTransport("127.0.0.1:9"), retries=few) as scorer,
        pytest.raises(ServerUnavailable, match=r"127\.0\.0\.1:9.*recserve serve"),
    ):
        scorer.score({})


def test_a_channel_is_closed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """tritonclient closes again in its destructor, which makes processes under gevent hang at their end."""
    transport = GrpcTransport("127.0.0.1:9")
    channel = transport._client._channel
    original, closed = type(channel).close, []
    monkeypatch.setattr(type(channel), "close", lambda self: (closed.append(self), original(self)))
    transport.close()
    transport.close()
    del transport
    gc.collect()
    assert [c is channel for c in closed].count(True) == 1


@pytest.mark.parametrize("data", [".", "test.tfrecord", "rows.parquet", "rows.jsonl"])
def test_score_command_round_trip(
    tiny_server: str, tiny_model: Any, columns: dict[str, np.ndarray], dataset: Path, tmp_path: Path, data: str
) -> None:
    result = run(
        "--data", dataset / data, "--url", tiny_server, "--output_file", tmp_path / "out" / "scores.csv",
        "--summary_file", tmp_path / "summary.json", "--batch_size", 13, "--in_flight", 3,
    )  # fmt: skip
    logits = tiny_model.logits(columns)
    with (tmp_path / "out" / "scores.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    np.testing.assert_allclose([float(r["logit"]) for r in rows], logits, atol=1e-6)
    assert [int(r["label"]) for r in rows] == columns["label"].tolist()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["rows"] == ROWS
    assert summary["auc"] == pytest.approx(roc_auc(columns["label"], logits), abs=1e-9)
    assert summary["log_loss"] == pytest.approx(log_loss_of_logits(columns["label"], logits), abs=1e-6)
    assert (summary["model"], summary["version"]) == ("sim", "1")
    assert f"ROC AUC   {summary['auc']:.6f}" in result.stdout
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / "scores.csv"]


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_scores_in_other_formats_and_a_limit(
    tiny_server: str, tiny_model: Any, columns: dict[str, np.ndarray], dataset: Path, tmp_path: Path, ending: str
) -> None:
    import pyarrow.parquet as pq

    file = tmp_path / f"scores.{ending}"
    run("--data", dataset, "--url", tiny_server, "--output_file", file, "--limit", 40)
    if ending == "parquet":
        rows = pq.read_table(file).to_pylist()
    else:
        rows = [json.loads(line) for line in file.read_text().splitlines()]
    np.testing.assert_allclose([r["logit"] for r in rows], tiny_model.logits(columns)[:40], atol=1e-6)
    assert [r["label"] for r in rows] == columns["label"][:40].tolist()


def test_rows_without_labels_have_no_metrics(
    tiny_server: str, tiny_model: Any, columns: dict[str, np.ndarray], tools: Any, tmp_path: Path
) -> None:
    rows = [{n: c[i].tolist() for n, c in tiny_model.served(columns).items()} for i in range(3)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = run("--data", tmp_path / "rows.jsonl", "--url", tiny_server, "--summary_file", tmp_path / "s.json")
    assert "no label in the data" in result.stdout
    summary = json.loads((tmp_path / "s.json").read_text())
    assert (summary["rows"], summary["auc"], summary["log_loss"]) == (3, None, None)


def test_an_error_leaves_the_old_scores_and_no_pieces(
    tiny_server: str, columns: dict[str, np.ndarray], tools: Any, tmp_path: Path
) -> None:
    odd = {**columns, "label": np.where(np.arange(ROWS) == 100, 3, columns["label"])}
    tools.write_parquet(tmp_path / "odd.parquet", odd)
    (tmp_path / "scores.csv").write_text("old")
    with pytest.raises(ValueError, match="row 101 of the dataset, label: got 3; expected 0 or 1"):
        run("--data", tmp_path / "odd.parquet", "--url", tiny_server, "--output_file", tmp_path / "scores.csv")
    assert (tmp_path / "scores.csv").read_text() == "old"
    assert sorted(f.name for f in tmp_path.iterdir()) == ["odd.parquet", "scores.csv"]
    with pytest.raises(ValueError, match=r"expected a name ending in one of \.csv, \.jsonl, \.parquet"):
        run("--data", tmp_path / "odd.parquet", "--url", tiny_server, "--output_file", tmp_path / "scores.txt")


def test_scoring_never_loads_tensorflow(tiny_server: str, dataset: Path) -> None:
    """A whole run, TFRecord reading included, in a fresh interpreter."""
    program = (
        "import sys; from client.cli import score; "
        f"score(['--data', {str(dataset)!r}, '--url', {tiny_server!r}], standalone_mode=False); "
        "sys.exit('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert f"rows      {ROWS}" in done.stdout
