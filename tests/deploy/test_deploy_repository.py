"""Versions in the repository's folders: which one is live, what is taken out, what goes, what a kill leaves."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from deploy.connection import Connection
from deploy.patience import Patience
from deploy.publication import Publisher
from deploy.server_admin import ServerAdmin
from export.errors import ExportError
from export.live_version import live_version, make_live, pinned_version
from export.repository import (
    Folders,
    next_version,
    prune,
    publish,
    rejected_versions,
    remove_unfinished,
    take_out,
    versions,
)
from export.repository_lock import locked

NAMES = ("sim", "sim_rank")


def config_of(name: str, max_batch_size: int = 8) -> str:
    return f'name: "{name}"\nbackend: "tensorflow"\nmax_batch_size: {max_batch_size}\n'


def add(repository: Path, max_batch_size: int = 8) -> int:
    def fill(folders: Folders, version: int) -> None:
        for folder in folders.values():
            (folder / "weights").write_text(str(version))

    folders = publish(repository, {name: config_of(name, max_batch_size) for name in NAMES}, fill)
    return int(folders["sim"].name)


def model_config(repository: Path, name: str = "sim") -> str:
    return (repository / name / "config.pbtxt").read_text()


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Versions 1, 2 and 3, whose configs have max_batch_size 10, 20 and 30."""
    for size in (10, 20, 30):
        add(tmp_path, size)
    return tmp_path


def test_the_newest_is_live_and_each_version_keeps_its_own_config(three: Path) -> None:
    assert live_version(three / "sim") == 3
    assert pinned_version(model_config(three)) is None
    assert "max_batch_size: 10" in (three / "sim" / "1" / "config.pbtxt").read_text()
    assert model_config(three) == config_of("sim", 30)


def test_a_rollback_pins_the_older_version_with_its_own_config_in_both_models(three: Path) -> None:
    make_live(three, NAMES, 1)
    for name in NAMES:
        assert live_version(three / name) == 1
        assert pinned_version(model_config(three, name)) == 1
        assert "max_batch_size: 10" in model_config(three, name)


def test_a_publish_after_a_rollback_clears_the_pin(three: Path) -> None:
    make_live(three, NAMES, 1)
    assert add(three, 40) == 4
    assert live_version(three / "sim") == 4
    assert pinned_version(model_config(three)) is None


def test_making_a_missing_version_live_changes_nothing(three: Path) -> None:
    before = model_config(three), model_config(three, "sim_rank")
    (three / "sim_rank" / "2").rename(three / "sim_rank" / "gone")
    with pytest.raises(ExportError, match="got 2"):
        make_live(three, NAMES, 2)
    assert (model_config(three), model_config(three, "sim_rank")) == before


def test_a_damaged_config_is_told_with_what_to_do(three: Path) -> None:
    (three / "sim" / "config.pbtxt").write_text("version_policy {")
    with pytest.raises(ExportError, match="Copy that of the version's own folder"):
        live_version(three / "sim")


def test_a_version_that_is_taken_out_keeps_its_reason_and_its_number_is_not_used_again(three: Path) -> None:
    take_out(three, NAMES, 3, "scores differ")
    assert [versions(three / name) for name in NAMES] == [[1, 2], [1, 2]]
    assert rejected_versions(three / "sim") == {3: "scores differ"}
    assert next_version([three / name for name in NAMES]) == 4
    assert add(three) == 4


@pytest.mark.parametrize(("live", "keep", "left"), [(3, 1, [3]), (3, 2, [2, 3]), (1, 1, [1, 3]), (1, 9, [1, 2, 3])])
def test_prune_keeps_the_newest_and_the_live_one(three: Path, live: int, keep: int, left: list[int]) -> None:
    make_live(three, NAMES, live)
    assert prune(three, NAMES, keep) == [v for v in (1, 2, 3) if v not in left]
    assert [versions(three / name) for name in NAMES] == [left, left]
    assert live_version(three / "sim") == live


def test_prune_keeps_the_last_that_was_taken_out(three: Path) -> None:
    take_out(three, NAMES, 1, "bad")
    take_out(three, NAMES, 2, "worse")
    prune(three, NAMES, 5)
    assert rejected_versions(three / "sim") == {2: "worse"}


def test_what_a_killed_publish_left_is_removed(three: Path) -> None:
    (three / "sim" / ".staging-4-77").mkdir()
    (three / "sim_rank" / "4").mkdir()  # appears first; that of sim had not yet
    remove_unfinished(three, NAMES)
    assert versions(three / "sim_rank") == [1, 2, 3]
    assert not list((three / "sim").glob(".*"))


def test_a_kill_while_a_version_is_taken_out_is_made_good(three: Path) -> None:
    take_out(three, ["sim"], 3, "scores differ")
    remove_unfinished(three, NAMES)
    assert versions(three / "sim_rank") == [1, 2]
    assert list(rejected_versions(three / "sim_rank")) == [3]


def test_a_version_that_cannot_be_made_live_is_taken_back(three: Path) -> None:
    before = model_config(three)
    in_the_way = three / "sim" / f".config.pbtxt.{os.getpid()}.tmp"
    in_the_way.mkdir()
    with pytest.raises(ExportError, match="could not be written"):
        add(three, 40)
    in_the_way.rmdir()
    assert [versions(three / name) for name in NAMES] == [[1, 2, 3], [1, 2, 3]]
    assert not [*three.glob("*/.*")]
    assert model_config(three) == before


def test_a_version_is_taken_out_on_a_full_disk_too(three: Path) -> None:
    (three / "sim" / "3" / "reason.txt").mkdir()  # cannot be written
    take_out(three, NAMES, 3, "scores differ")
    assert rejected_versions(three / "sim") == {3: "unknown"}


def _hold(repository: Path, has_it: object, may_go: object) -> None:
    with locked(repository):
        has_it.set()  # type: ignore[attr-defined]
        may_go.wait(30)  # type: ignore[attr-defined]


def test_one_publisher_at_a_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")  # a fork would take the threads' locks of gRPC along
    has_it, may_go = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, has_it, may_go))
    other.start()
    assert has_it.wait(30)
    with pytest.raises(ExportError, match="locked by another process"), locked(tmp_path, timeout_s=0.2):
        pass
    connection = Connection("127.0.0.1:1")  # nobody is asked while the other one publishes
    with ServerAdmin(connection) as admin:
        assert Publisher(tmp_path, "sim", connection, admin, Patience(0.0)).ensure_serving() is False
    other.kill()  # the kernel frees the lock
    other.join()
    with locked(tmp_path, timeout_s=5.0), locked(tmp_path):
        assert add(tmp_path) == 1
