"""What is not the dataset's fault: the side-car says why, keeps the work, and goes on when it is put right."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from deploy.connection import Connection
from deploy.errors import SettingError
from deploy.server_admin import ServerAdmin
from deploy.sidecar.journal import Journal, Work
from deploy.sidecar.loop import Sidecar
from deploy.sidecar.metrics import Metrics
from deploy.sidecar.settings import SidecarSettings
from deploy.sidecar.watch import waiting
from deploy.verification import verify
from export.repository import Folders, publish, rejected_versions, versions
from serving.embedded import TritonServer
from tests.conftest import tiny_spec

NOBODY = Connection("127.0.0.1:1")


class Car:
    """A side-car over a repository with published versions, without a server. said: its messages."""

    def __init__(self, folder: Path, fingerprints: Sequence[str] = ()) -> None:
        self.repository, self.state, self.data = (folder / name for name in ("models", "state", "data"))
        self.state.mkdir()
        self.data.mkdir()
        for fingerprint in fingerprints:
            publish(self.repository, {"sim": 'name: "sim"\n'}, lambda folders, _, f=fingerprint: _fill(folders, f))
        self.said: list[str] = []
        self.settings = SidecarSettings(
            self.data, self.repository, self.state, connection=NOBODY, retry_wait_s=0.0, max_tries=1
        )

    def remember(self, work: Work) -> None:
        Journal(self.state, work).save()

    def journal(self) -> Journal:
        return Journal.load(self.state)

    def step(self, times: int = 1) -> bool:
        with ServerAdmin(NOBODY, timeout_s=0.5) as admin:
            car = Sidecar(self.settings, admin, Metrics(), self._run, self.said.append, sleep=lambda _: None)
            return [car.step() for _ in range(times)][-1]

    def _run(self, stage: str, arguments: Sequence[str], log: Path) -> None:
        raise SettingError("the secret is another one now")


def _fill(folders: Folders, fingerprint: str) -> None:
    (folders["sim"] / "manifest.json").write_text(json.dumps({"dataset_fingerprint": fingerprint}))


def write_dataset(folder: Path, file: str = "test.tfrecord") -> Path:
    folder.mkdir(parents=True)
    spec = tiny_spec()
    spec["source_spec"]["test"][0]["files"] = [file]
    if len(file) < 100:
        (folder / file).write_bytes(b"rows")
    (folder / "feature_spec.yaml").write_text(yaml.safe_dump(spec))
    return folder


def test_a_withdrawal_that_the_disk_does_not_take_is_gone_on_with(tmp_path: Path) -> None:
    car = Car(tmp_path, ["old", "bad"])
    car.remember(Work("/data/bad", "bad", "withdrawing", 2, 1, reason="scores differ"))
    in_the_way = car.repository / "sim" / f".config.pbtxt.{os.getpid()}.tmp"
    in_the_way.mkdir()  # the config cannot be written
    assert car.step() is True
    work = car.journal().work
    assert work is not None
    assert (work.phase, work.version, work.previous, work.reason, work.tries) == (
        "withdrawing",
        2,
        1,
        "scores differ",
        0,
    )
    assert versions(car.repository / "sim") == [1, 2]
    in_the_way.rmdir()
    car.step()
    assert rejected_versions(car.repository / "sim") == {2: "scores differ"}
    assert car.journal().outcomes["bad"].decision == "rejected"


def test_a_setting_that_does_not_fit_counts_as_no_try(tmp_path: Path) -> None:
    car = Car(tmp_path)
    write_dataset(car.data / "one")
    assert car.step(3) is False
    work = car.journal().work
    assert work is not None
    assert work.tries == 0
    assert car.journal().outcomes == {}
    assert [text for text in car.said if "waiting" in text] == ["waiting: the secret is another one now"]  # once


def test_a_damaged_repository_does_not_end_the_side_car(tmp_path: Path) -> None:
    car = Car(tmp_path, ["old"])
    config = car.repository / "sim" / "config.pbtxt"
    config.write_text("version_policy {")
    assert car.step() is False
    assert "config.pbtxt: damaged" in car.said[-1]


def test_a_version_that_another_publisher_made_is_not_taken_for_its_own(tmp_path: Path) -> None:
    car = Car(tmp_path, ["old", "of another"])
    dataset = write_dataset(car.data / "one")
    car.remember(Work(str(dataset), waiting(car.data, ())[0].fingerprint, "publishing", 2, 1))
    car.step()
    assert car.journal().outcomes == {}  # it trains again: not published as version 2
    work = car.journal().work
    assert work is not None
    assert (work.phase, work.version) == ("training", None)


def test_a_dataset_that_cannot_be_read_keeps_none_waiting(tmp_path: Path) -> None:
    write_dataset(tmp_path / "good")
    write_dataset(tmp_path / "unreadable", "x" * 300)  # longer than a file name may be
    assert [d.folder.name for d in waiting(tmp_path, ())] == ["good"]


@pytest.mark.server
def test_a_server_that_restricts_scoring_says_nothing_about_a_version(tiny_repository: Path) -> None:
    restricted = ["--grpc-restricted-protocol=model-config:secret=x"]
    with (
        TritonServer(tiny_repository, extra_args=restricted) as server,
        pytest.raises(SettingError, match="protocol is restricted"),
    ):
        verify(Connection(server.endpoints.grpc), "sim", None, 1, None, 1e-5)
