"""The side-car's loop: one dataset at a time from training to serving; goes on, or undoes, wherever it was killed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from deploy.errors import (
    DatasetRefused,
    DeployError,
    LoadRefused,
    ServerDown,
    ServerRefused,
    SettingError,
    StageFailed,
    VerificationFailed,
)
from deploy.exported import Exported
from deploy.patience import Patience
from deploy.publication import Publisher
from deploy.server_admin import ServerAdmin
from deploy.sidecar.bootstrap import bootstrap
from deploy.sidecar.candidate_run import Rejected, prepare
from deploy.sidecar.children import RunStage
from deploy.sidecar.journal import Work
from deploy.sidecar.metrics import Metrics
from deploy.sidecar.record import Record
from deploy.sidecar.settings import SidecarSettings
from deploy.sidecar.training_run import TrainingRun
from deploy.sidecar.watch import Dataset, dataset_in, waiting
from export.errors import ExportError, RepositoryLocked
from export.repository import versions

FINAL = (DatasetRefused, LoadRefused, VerificationFailed)  # trying again would end the same way
BLAMELESS = (ServerDown, ServerRefused, SettingError, RepositoryLocked)  # say nothing about the dataset
APPEARING = ("publishing", "published", "loaded")
HOW = "sidecar"


class Sidecar:
    """run: how stages are run. sleep: how it waits. `start` once, then `step` again and again."""

    def __init__(
        self,
        settings: SidecarSettings,
        admin: ServerAdmin,
        metrics: Metrics,
        run: RunStage,
        say: Callable[[str], None] = print,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings, self._admin, self._run = settings, admin, run
        self._record = Record(settings, metrics, say, sleep)
        self._patience = Patience(on_wait=self._record.server_is_down, sleep=self._record.wait)
        self.publisher = Publisher(
            settings.repository, settings.name, settings.connection, admin, self._patience, self._record.note
        )

    def start(self) -> None:
        """Waits for the server; generates data for a first start if there is nothing to serve and --bootstrap."""
        self._record.show_phase("waiting_for_server")
        self._patience.call(self._require_server)
        self._record.server_is_up()
        self._clean_up()
        if self._settings.bootstrap and self.publisher.live is None and not self._waiting() and not self._record.work:
            self._record.show_phase("bootstrap")
            data = bootstrap(
                self._settings.data, self._settings.state / "bootstrap", self._settings.bootstrap_users, self._run
            )
            self._record.decided("bootstrap", "there was nothing to serve", "empty", dataset=str(data))

    def step(self) -> bool:
        """One dataset, or a look at the server. False if there was nothing to do."""
        self._record.metrics.tick()
        try:
            worked = self._step()
            self._show_live()
            self._record.waits("")
            return worked
        except ServerDown as error:
            self._record.server_is_down(str(error))
        except (DeployError, ExportError, OSError) as error:
            self._hold(error)
        return False

    def _clean_up(self) -> None:
        """Waits for another process that publishes."""
        while True:
            try:
                self.publisher.clean_up()
                return
            except RepositoryLocked as error:
                self._record.waits(str(error))
                self._record.wait(self._settings.poll_s)

    @property
    def is_done(self) -> bool:
        """No dataset is at work or waiting."""
        return self._record.work is None and not self._waiting()

    def _step(self) -> bool:
        work = self._record.work or self._next()
        if work is None or work.not_before > time.time():
            self._keep_serving()
            return False
        began = time.monotonic()
        try:
            self._work_on(work)
            self._record.server_is_up()
        except BLAMELESS:
            raise
        except (DeployError, ExportError, OSError) as error:
            self._failed(error)
        self._record.metrics.set("stage_duration_seconds", time.monotonic() - began, stage="all")
        return True

    def _next(self) -> Work | None:
        """The oldest dataset that is not decided on."""
        found = self._waiting()
        self._record.metrics.set("datasets_waiting", len(found))
        if not found:
            return None
        work = Work(str(found[0].folder), found[0].fingerprint)
        self._record.begin(work)
        return work

    def _work_on(self, work: Work) -> None:
        if work.phase in APPEARING and work.version is not None:
            self.publisher.clean_up()
            if self._is_of(work, work.version):
                self.publisher.finish(work.version, work.previous)
                self._published(work.version, "the process was killed while it was published; went on")
                return
        if work.phase == "withdrawing" and work.version is not None:
            self.publisher.clean_up()
            self.publisher.withdraw(work.version, work.previous, work.reason)
            raise VerificationFailed(work.reason)
        self._whole_way(work)

    def _is_of(self, work: Work, version: int) -> bool:
        """Whether the version is there, and this work's: another publisher may have got the number meanwhile."""
        repository, name = self._settings.repository, self._settings.name
        if version not in versions(repository / name):
            return False
        return Exported.of_version(repository, name, version).manifest().get("dataset_fingerprint") == work.fingerprint

    def _whole_way(self, work: Work) -> None:
        dataset = dataset_in(Path(work.dataset))
        if dataset is None or dataset.fingerprint != work.fingerprint:
            raise DatasetRefused(f"{work.dataset}: it was removed or written again before its turn was over")
        run = TrainingRun(self._run_folder(work.fingerprint), dataset, self._settings, self._run)
        exported, gate, facts = prepare(run, dataset, self._live_manifest(), self._settings, self._record)
        with self._record.stage("publish"):
            version, verified = self.publisher.publish(exported, HOW, facts)
        self._published(
            version, gate.reason, training=facts["training"], training_reason=facts["training_reason"],
            held_rows=verified.rows + verified.rank_rows,
            max_difference=verified.max_difference, metric=gate.metric, value=gate.value, baseline=gate.baseline,
        )  # fmt: skip
        shutil.rmtree(run.exported_folder, ignore_errors=True)

    def _published(self, version: int, reason: str, **facts: Any) -> None:
        self._record.conclude("published", reason, "passed", version, **facts)
        gone = self.publisher.prune(self._settings.keep)
        if gone:
            self._record.decided("pruned", f"keeps {self._settings.keep} versions", "keep", versions=gone)
        self._remove_old_runs()

    def _failed(self, error: Exception) -> None:
        kind = getattr(error, "kind", "disk" if isinstance(error, OSError) else "publish_failed")
        work = self._record.work
        if work is None:
            raise error
        is_in_repository = work.version is not None and work.phase in (*APPEARING, "withdrawing")
        if is_in_repository and isinstance(error, OSError | ExportError):
            self._hold(error)  # whether it goes live or is withdrawn: not to be forgotten half-way
            return
        live = {"live": self.publisher.live}
        if isinstance(error, Rejected | LoadRefused | VerificationFailed):
            self._record.conclude("rejected", str(error), kind, work.version, **live)
            self._remove_old_runs()
        elif isinstance(error, FINAL) or work.tries + 1 >= self._settings.max_tries:
            self._record.conclude("failed", str(error), kind, work.version, **live)
            self._remove_old_runs()
        else:
            self._try_again(work, error, kind)

    def _hold(self, error: Exception) -> None:
        """Says why, and keeps the work as it is for later; no try is counted."""
        self._record.waits(str(error))
        if self._record.work is not None:
            self._record.begin(replace(self._record.work, not_before=time.time() + self._settings.retry_wait_s))

    def _try_again(self, work: Work, error: Exception, kind: str) -> None:
        wait_s = self._settings.retry_wait_s * 2**work.tries
        if isinstance(error, StageFailed) and kind == "train_failed":
            shutil.rmtree(self._run_folder(work.fingerprint), ignore_errors=True)  # perhaps what it goes on from is bad
        again = Work(work.dataset, work.fingerprint, tries=work.tries + 1, not_before=time.time() + wait_s)
        self._record.begin(again)
        self._record.decided("retry", f"{error}; trying again in {wait_s:g} s", kind, dataset=work.dataset)

    def _keep_serving(self) -> None:
        self._record.show_phase("idle")
        try:
            if self.publisher.ensure_serving():
                live = self.publisher.live
                self._record.decided("reloaded", "the server did not serve the live version", "reload", version=live)
            self._record.server_is_up()
        except ServerDown as error:
            self._record.server_is_down(str(error))
        except LoadRefused as error:
            self._record.decided("not_served", str(error), error.kind, version=self.publisher.live)

    def _require_server(self) -> None:
        if not self._admin.is_up():
            raise ServerDown(f"server {self._settings.connection.url}: does not answer")

    def _show_live(self) -> None:
        self._record.metrics.set("live_version", self.publisher.live or 0)
        created = (self._live_manifest() or {}).get("created")
        if created:
            at = datetime.fromisoformat(created).timestamp()
            self._record.metrics.set("live_version_created_timestamp_seconds", at)

    def _live_manifest(self) -> dict[str, Any] | None:
        live = self.publisher.live
        if live is None:
            return None
        return Exported.of_version(self._settings.repository, self._settings.name, live).manifest()

    def _waiting(self) -> list[Dataset]:
        return waiting(self._settings.data, self._record.outcomes)

    def _run_folder(self, fingerprint: str) -> Path:
        return self._settings.state / "runs" / fingerprint

    def _remove_old_runs(self) -> None:
        """Those that no version in the repository came from."""
        repository, name = self._settings.repository, self._settings.name
        manifests = [Exported.of_version(repository, name, v).manifest() for v in versions(repository / name)]
        needed = {manifest.get("dataset_fingerprint") for manifest in manifests}
        for folder in (self._settings.state / "runs").glob("*"):
            if folder.name not in needed:
                shutil.rmtree(folder, ignore_errors=True)
