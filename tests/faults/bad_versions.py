"""Versions that must not be served, and disks that are full. Each trial breaks what a real stage wrote."""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.connection import Connection
from deploy.errors import VerificationFailed
from deploy.exported import Exported
from deploy.held_set import HeldSet
from deploy.patience import Patience
from deploy.publication import Publisher
from deploy.server_admin import ServerAdmin
from deploy.sidecar.children import Children
from deploy.sidecar.journal import only_one
from deploy.sidecar.loop import Sidecar
from deploy.sidecar.metrics import Metrics
from deploy.sidecar.settings import SidecarSettings
from export.repository import Folders
from tests.faults.datasets import ROOT
from tests.faults.world import EXPORT, LOOSE, TRAIN, World, require

Damage = Callable[[Path], None]


@dataclass(frozen=True)
class Damaging:
    """Runs the real stage, then damages what it wrote. damage: gets the run's folder."""

    children: Children
    stage: str
    damage: Damage

    def __call__(self, stage: str, arguments: Sequence[str], log_file: Path) -> None:
        self.children(stage, arguments, log_file)
        if stage == self.stage:
            self.damage(log_file.parent)


def truncated_checkpoint(world: World) -> dict[str, Any]:
    def damage(run: Path) -> None:
        for file in (run / "checkpoints").glob("epoch-*/variables.data-*"):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    return _expect(world, "train", damage, "failed", "export_failed", "damaged")


def corrupt_saved_model(world: World) -> dict[str, Any]:
    def damage(run: Path) -> None:
        for model in ("sim", "sim_rank"):
            file = run / "exported" / model / "1" / "model.savedmodel" / "saved_model.pb"
            file.unlink()  # the two models share it
            file.write_bytes(b"\xff" * 100)

    return _expect(world, "export", damage, "rejected", "load_refused", "SavedModel")


def nan_weights(world: World) -> dict[str, Any]:
    def damage(run: Path) -> None:
        checkpoint = next((run / "checkpoints").glob("epoch-*"))
        command = [sys.executable, "-m", "tests.faults.poison", str(checkpoint)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=600, capture_output=True)

    return _expect(world, "train", damage, "failed", "export_failed", "NaN")


def worse_model(world: World) -> dict[str, Any]:
    """Trained on the opposite of what users did."""
    return _expect_of_sidecar(world, "reversed", "rejected", "worse_metric", "worse by", "--warm_epochs", "2")


def bad_specification(world: World) -> dict[str, Any]:
    dataset = world.data / "day-000-broken"
    dataset.mkdir()
    (dataset / "feature_spec.yaml").write_text("feature_spec: {user_id: {dtype: int63}}\n")
    before = world.live()
    world.run_sidecar(*LOOSE)
    return _on_record(world, dataset, before, "failed", "dataset_refused", "int63")


def other_cardinalities(world: World) -> dict[str, Any]:
    """A new form is trained from scratch and published; the record says which feature differs."""
    before = world.live()
    dataset = world.datasets.arrive(world.data, "other_form")
    world.run_sidecar(*LOOSE)
    decision = world.last_decision(dataset)
    require(decision["decision"] == "published", f"expected it to be published: {decision}")
    require(world.live() != before, "the new version is not live")
    require(
        decision["training"] == "from scratch" and "cardinality" in decision["training_reason"],
        f"expected it to be trained from scratch for its cardinalities: {decision}",
    )
    world.require_serving(world.live() or 0)
    return {"decision": "published", "reason": decision["training_reason"]}


def disk_full(world: World, is_small_disk: bool) -> dict[str, Any]:
    """On a small file system: nothing left but 64 kB for the version. Else: no file may grow beyond 64 kB."""
    if is_small_disk:
        ballast = world.repository / "ballast"
        free = shutil.disk_usage(world.repository).free
        with ballast.open("wb") as file:
            file.write(b"\0" * max(0, free - 64 * 1024))
        try:
            found = _expect_of_sidecar(world, "same", "failed", "publish_failed", "No space left", *LOOSE)
        finally:
            ballast.unlink()
        return {**found, "how": "file system full"}
    with _files_at_most(64 * 1024):
        found = _expect_of_sidecar(world, "same", "failed", "train_failed", "File too large", *LOOSE)
    return {**found, "how": "RLIMIT_FSIZE"}


def rot_after_the_candidate(world: World) -> dict[str, Any]:
    """A version that is right as a candidate and wrong when it is live: the one before is served again."""
    before = world.live() or 0

    class Rotten(Exported):
        def copy_into(self, targets: Folders, version: int, facts: Mapping[str, Any]) -> None:
            super().copy_into(targets, version, facts)
            held = HeldSet.load(targets["sim"])
            if held is not None:
                HeldSet(held.inputs, held.logit + 1.0).save(targets["sim"])

    exported = Rotten(Exported.of_version(world.repository, "sim", before).folders)
    connection = Connection(world.url)
    with ServerAdmin(connection) as admin:
        publisher = Publisher(world.repository, "sim", connection, admin, Patience(10.0))
        try:
            publisher.publish(exported, "trial", {})
        except VerificationFailed as error:
            reason = str(error)
        else:
            require(False, "a version that scores wrongly was published")
    taken_out = world.rejected()
    require(reason in taken_out.values(), f"expected the reason with the version that was taken out: {taken_out}")
    require(world.live() == before, f"expected version {before} to be live, got {world.live()}")
    world.require_serving(before)
    return {"decision": "rolled back", "reason": reason}


def _expect(world: World, stage: str, damage: Damage, decision: str, kind: str, words: str) -> dict[str, Any]:
    """A cycle of the side-car, in this process, whose stage leaves damaged files."""
    before = world.live()
    dataset = world.datasets.arrive(world.data)
    settings = SidecarSettings(
        data=world.data, repository=world.repository, state=world.state, connection=Connection(world.url),
        train_options=TRAIN, export_options=EXPORT, epochs=1, max_metric_drop=0.9, baseline="recorded", held_rows=200,
        max_tries=1,
    )  # fmt: skip
    run = Damaging(Children(nice=0, timeout_s=600.0), stage, damage)
    with only_one(world.state), ServerAdmin(settings.connection) as admin:
        car = Sidecar(settings, admin, Metrics(), run, say=lambda _: None)
        car.start()
        while not car.is_done:
            car.step()
    return _on_record(world, dataset, before, decision, kind, words)


def _expect_of_sidecar(
    world: World, dataset_kind: str, decision: str, kind: str, words: str, *options: str
) -> dict[str, Any]:
    before = world.live()
    dataset = world.datasets.arrive(world.data, dataset_kind)
    world.run_sidecar("--max_tries", "1", *options)
    return _on_record(world, dataset, before, decision, kind, words)


def _on_record(world: World, dataset: Path, before: int | None, decision: str, kind: str, words: str) -> dict[str, Any]:
    """The last good version serves, alone; nothing partial is left; the reason is on record."""
    found = world.last_decision(dataset)
    require(
        (found["decision"], found["kind"]) == (decision, kind) and words in found["reason"],
        f"expected {decision} ({kind}) with {words!r} in the reason, got: {found}",
    )
    require(world.live() == before, f"expected version {before} to be live, got {world.live()}")
    world.require_serving(before or 0)
    return {"decision": decision, "reason": found["reason"].splitlines()[0][:160]}


@contextlib.contextmanager
def _files_at_most(size_bytes: int) -> Any:
    """For this process and those that it starts; writing more fails with EFBIG, as Python ignores SIGXFSZ."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
