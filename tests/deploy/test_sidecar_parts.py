"""The side-car's parts: what it watches, remembers, decides, runs and tells."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml

from deploy.errors import DatasetRefused, LoadRefused, ServerDown, SettingError, StageFailed, VerificationFailed
from deploy.held_set import HeldSet
from deploy.patience import Patience
from deploy.sidecar.children import Children
from deploy.sidecar.endpoint import serving
from deploy.sidecar.gate import judge
from deploy.sidecar.journal import Journal, Outcome, Work, only_one
from deploy.sidecar.metrics import Metrics
from deploy.sidecar.training_run import warm_start
from deploy.sidecar.watch import dataset_in, waiting
from tests.conftest import tiny_spec
from training.dllogger import DLLogger
from training.feature_spec import FeatureSpec

ROOT = Path(__file__).parents[2]


def write_dataset(folder: Path, **metadata: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "test.tfrecord").write_bytes(b"rows")
    (folder / "feature_spec.yaml").write_text(yaml.safe_dump({**tiny_spec(), "metadata": metadata}))
    return folder


def test_only_complete_datasets_wait_oldest_first(tmp_path: Path) -> None:
    for day, name in enumerate(("b", "a")):
        os.utime(write_dataset(tmp_path / name, day=day) / "feature_spec.yaml", (day, day))
    (tmp_path / "unfinished").mkdir()
    write_dataset(tmp_path / ".hidden")
    assert [d.folder.name for d in waiting(tmp_path, ())] == ["b", "a"]


def test_a_dataset_is_known_by_its_specification_and_the_sizes_of_its_files(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "one")
    (first,) = waiting(tmp_path, ())
    assert waiting(tmp_path, {first.fingerprint}) == []
    (folder / "test.tfrecord").write_bytes(b"more rows")
    (second,) = waiting(tmp_path, {first.fingerprint})
    assert second.fingerprint != first.fingerprint
    assert dataset_in(folder) == second
    assert dataset_in(tmp_path) is None


def test_a_broken_specification_waits_too_and_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "feature_spec.yaml").write_text("feature_spec: 3\n")
    (found,) = waiting(tmp_path, ())
    with pytest.raises(DatasetRefused, match="expected a non-empty mapping"):
        found.spec()


def test_the_journal_comes_back_as_it_was(tmp_path: Path) -> None:
    journal = Journal(
        tmp_path, Work("/data/a", "f1", "published", 4, 3), {"f0": Outcome("failed", "why", None, "/b", 1.0)}
    )
    journal.save()
    again = Journal.load(tmp_path)
    assert (again.work, again.outcomes) == (journal.work, journal.outcomes)
    assert [p.name for p in tmp_path.iterdir()] == ["journal.json"]


def test_a_damaged_journal_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "journal.json").write_text('{"work": {"phase": 3')
    with pytest.raises(SettingError, match="Move it away"):
        Journal.load(tmp_path)


def test_two_sidecars_do_not_share_a_state(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from deploy.sidecar.journal import only_one\n"
    code += "with only_one(Path(sys.argv[1])): pass"
    with only_one(tmp_path / "state"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "state")], cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert "in use by another side-car" in done.stderr


@pytest.mark.parametrize(
    ("metric", "value", "baseline", "passed"),
    [
        ("auc", 0.795, 0.8, True), ("auc", 0.79, 0.8, False), ("auc", 0.9, 0.8, True), ("auc", 0.1, None, True),
        ("loss", 0.405, 0.4, True), ("loss", 0.41, 0.4, False), ("loss", 0.3, 0.4, True),
        ("auc", float("nan"), None, False), ("auc", float("nan"), 0.8, False), ("loss", float("inf"), 0.4, False),
    ],
)  # fmt: skip
def test_the_gate(metric: str, value: float, baseline: float | None, passed: bool) -> None:
    verdict = judge(metric, value, baseline, 0.0051, "as recorded")
    assert verdict.passed is passed
    assert metric in verdict.reason


def test_warm_start_needs_the_checkpoint_the_same_form_and_the_same_options(tmp_path: Path) -> None:
    spec = FeatureSpec.from_dict(tiny_spec())
    checkpoint = tmp_path / "epoch-0002"
    checkpoint.mkdir()
    spec.save(checkpoint / "feature_spec.yaml")
    manifest = {"version": 7, "checkpoint": str(checkpoint), "train_options": "abc"}
    warm = warm_start(manifest, spec, "abc")
    assert (warm.checkpoint, warm.epoch) == (checkpoint, 2)
    other = tiny_spec()
    other["feature_spec"]["user_id"]["cardinality"] = 41
    cold = {
        "cardinality 40": warm_start(manifest, FeatureSpec.from_dict(other), "abc"),
        "options have changed": warm_start(manifest, spec, "abd"),
        "is gone": warm_start({**manifest, "checkpoint": str(tmp_path / "epoch-0009")}, spec, "abc"),
        "no version": warm_start(None, spec, "abc"),
    }
    (checkpoint / "feature_spec.yaml").write_text("feature_spec: {")
    cold["its checkpoint is damaged"] = warm_start(manifest, spec, "abc")
    for words, start in cold.items():
        assert start.checkpoint is None
        assert words in start.reason


def held(logit: list[float]) -> HeldSet:
    return HeldSet({"user_id": np.arange(len(logit))[:, None]}, np.array(logit, np.float32))


def test_the_held_set_names_the_worst_row(tmp_path: Path) -> None:
    expected = held([0.5, -1.0, 4.0])
    expected.save(tmp_path)
    loaded = HeldSet.load(tmp_path)
    assert loaded is not None
    assert loaded.compare(np.array([0.5, -1.0, 4.00001], np.float32), 1e-5, "sim") < 3e-6
    with pytest.raises(VerificationFailed, match=r"1 of 3 held rows differ from training; row 2: logit got -1\.001"):
        loaded.compare(np.array([0.5, -1.001, 4.0], np.float32), 1e-5, "sim")
    with pytest.raises(VerificationFailed, match="row 3: logit got nan"):
        loaded.compare(np.array([0.5, -1.0, np.nan], np.float32), 1e-5, "sim")


def test_a_damaged_held_set_is_refused_and_a_missing_one_is_none(tmp_path: Path) -> None:
    assert HeldSet.load(tmp_path) is None
    (tmp_path / "held_set.npz").write_bytes(b"PK\x03\x04 half")
    with pytest.raises(VerificationFailed, match="damaged"):
        HeldSet.load(tmp_path)


def test_patience_retries_a_server_that_is_down_until_its_time_is_up() -> None:
    waits: list[float] = []
    calls = iter([ServerDown("down"), ServerDown("down"), None])

    def answers() -> str:
        error = next(calls)
        if error is not None:
            raise error
        return "up"

    assert Patience(None, 1.0, 1.5, sleep=waits.append).call(answers) == "up"
    assert waits == [1.0, 1.5]

    def never() -> None:
        raise ServerDown("down")

    with pytest.raises(ServerDown):
        Patience(0.5, 1.0).call(never)


def test_a_version_that_takes_the_server_down_three_times_is_refused() -> None:
    is_up = iter(
        [True, False, False, True, True, True, False, True, False]
    )  # before and after; after only if it was up
    calls: list[int] = []

    def load() -> None:
        calls.append(1)
        raise ServerDown("down")

    with pytest.raises(LoadRefused, match="went down 3 times"):
        Patience(None, sleep=lambda _: None).call_with_version(load, lambda: next(is_up))
    assert len(calls) == 5  # it was down before the second, and only busy at the third


def test_a_failed_stage_tells_the_commands_own_words(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="train ended with exit code 1: dataset_dir: there is no /nowhere") as error:
        Children(nice=0, timeout_s=120)("train", ["train", "--dataset_dir", "/nowhere"], tmp_path / "log")
    assert error.value.kind == "train_failed"


def test_a_stage_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"not done after 0\.05 s"):
        Children(nice=0, timeout_s=0.05)("export", ["sweep", "--help"], tmp_path / "log")


def test_children_end_with_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from deploy.sidecar import children\n"
        "children.RECSERVE = (sys.executable, '-c', 'import time; time.sleep(600)')\n"
        "children.Children(5, 600.0)('train', [], Path(sys.argv[1]))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "log")], cwd=ROOT)
    child = _only_child(parent.pid)
    deadline = time.monotonic() + 30
    while child.nice() != 5:
        assert time.monotonic() < deadline, f"the child's niceness is {child.nice()}; expected 5"
        time.sleep(0.02)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    child.wait(10)


def _only_child(pid: int) -> psutil.Process:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for child in psutil.Process(pid).children():
            if "time.sleep(600)" in " ".join(child.cmdline()) and "launcher.py" not in " ".join(child.cmdline()):
                return child
        time.sleep(0.02)
    raise AssertionError("the child did not start")


def test_metrics_are_in_the_text_format_with_escaped_labels() -> None:
    metrics = Metrics()
    metrics.count("decisions_total", decision="rejected", reason='a "b"\n\\c')
    metrics.count("decisions_total", decision="rejected", reason='a "b"\n\\c')
    metrics.only("phase", phase="training")
    metrics.only("phase", phase="idle")
    lines = metrics.text().splitlines()
    assert r'recserve_sidecar_decisions_total{decision="rejected",reason="a \"b\"\n\\c"} 2' in lines
    assert "# TYPE recserve_sidecar_decisions_total counter" in lines
    assert [line for line in lines if line.startswith("recserve_sidecar_phase{")] == [
        'recserve_sidecar_phase{phase="idle"} 1'
    ]


def _get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_the_endpoint_serves_metrics_and_health() -> None:
    metrics = Metrics()
    metrics.set("live_version", 3)
    with serving(metrics, "127.0.0.1", 0) as port:
        status, text = _get(port, "/metrics")
        assert status == 200
        assert "recserve_sidecar_live_version 3\n" in text
        status, text = _get(port, "/healthz")
        assert (status, json.loads(text)["live_version"]) == (200, 3)
        with pytest.raises(SettingError, match="Choose another port"), serving(metrics, "127.0.0.1", port):
            pass
        metrics.set("last_tick_timestamp_seconds", time.time() - 1000)
        assert _get(port, "/healthz")[0] == 503
        assert _get(port, "/")[0] == 404


def test_a_log_can_be_gone_on_with(tmp_path: Path) -> None:
    for number in (1, 2):
        with DLLogger(tmp_path / "log.json", append=True) as log:
            log.log((), {"number": number})
    lines = [json.loads(line[5:])["data"] for line in (tmp_path / "log.json").read_text().splitlines()]
    assert lines == [{"number": 1}, {"number": 2}]
