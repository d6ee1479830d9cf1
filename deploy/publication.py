"""Publishes versions to a running Triton, and takes them back. Nobody's request meets a version that was not compared.

Publish: try it as a candidate, write its files, load it, compare again, pinned to it. Roll back: the same with a
version that is there. If a step fails, the version before is served as it was, and the error says why.
"""

from __future__ import annotations

import dataclasses
import datetime
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from deploy.candidate import Candidate, unload_candidates
from deploy.connection import Connection
from deploy.errors import LoadRefused, PublishFailed, ServerDown, SettingError, VerificationFailed
from deploy.exported import RANK, Exported
from deploy.held_set import HeldSet
from deploy.patience import Patience
from deploy.server_admin import ServerAdmin
from deploy.verification import Verified, tolerance_of, verify
from export.author import author
from export.errors import ExportError, RepositoryLocked
from export.live_version import CONFIG, live_version, make_live
from export.repository import (
    STAGING,
    next_version,
    prune,
    publish,
    rejected_versions,
    remove_unfinished,
    share_files,
    take_out,
    versions,
)
from export.repository_lock import locked


class Note(Protocol):
    """Told each step before it is taken, with the numbers of the new version and the one before."""

    def __call__(
        self, phase: str, version: int | None = None, previous: int | None = None, reason: str = ""
    ) -> None: ...


def _no_note(phase: str, version: int | None = None, previous: int | None = None, reason: str = "") -> None: ...


class Publisher:
    """One model, with its rank model, in one repository that one Triton serves.

    patience: how long to wait for a server that is down.
    """

    def __init__(
        self, repository: Path, name: str, connection: Connection, admin: ServerAdmin, patience: Patience,
        note: Note = _no_note,
    ) -> None:  # fmt: skip
        self.repository, self.name = repository, name
        self._connection, self._admin = connection, admin
        self._patience, self._note = patience, note

    @property
    def live(self) -> int | None:
        """The version that the files say is served."""
        return live_version(self.repository / self.name)

    def names(self, version: int) -> list[str]:
        """The models that have it, the pointwise one first."""
        return list(Exported.of_version(self.repository, self.name, version).folders)

    def publish(self, exported: Exported, how: str, facts: Mapping[str, Any]) -> tuple[int, Verified]:
        """Returns the new version. how: the command, for the manifest; facts: more for it.

        Raises LoadRefused, VerificationFailed, PublishFailed; ServerDown if patience ended. Then nothing has changed.
        """
        with locked(self.repository):
            self.clean_up()
            previous = self.live
            self._check_rank(exported, previous)
            try:
                self._note("candidate", None, previous)
                local = self._brought_in(exported)
                with Candidate(self.repository, local, self._connection, self._admin) as candidate:
                    self._with_version(candidate.check)
                    version = next_version([self.repository / name for name in local.folders])
                    self._note("publishing", version, previous)
                    self._write(local, how, facts)
                    return version, self.finish(version, previous)
            finally:
                self._remove_leftovers()

    def finish(self, version: int, previous: int | None) -> Verified:
        """Loads a version whose files are published, and compares. On a failure serves the one before, and raises."""
        with locked(self.repository):
            make_live(self.repository, self.names(version), version)
            self._note("published", version, previous)
            try:
                return self._with_version(lambda: self._flip(version, previous))
            except (LoadRefused, VerificationFailed, ServerDown) as error:
                self.withdraw(version, previous, str(error))
                raise

    def roll_back(self, to: int | None = None) -> tuple[int, int]:
        """Serves an older version (by default the one before the live one) and pins it. Returns (from, to).

        Raises SettingError if there is no such version; LoadRefused, VerificationFailed or ServerDown: then the live
        version goes on serving.
        """
        with locked(self.repository):
            self.clean_up()
            live = self.live
            target = self._rollback_target(live, to)
            if live is None or target == live:
                raise SettingError(f"--to: got {target}, which is live already; choose another of {self._numbers()}")
            exported = Exported.of_version(self.repository, self.name, target)
            with Candidate(self.repository, exported, self._connection, self._admin) as candidate:
                self._with_version(candidate.check)
                make_live(self.repository, list(exported.folders), target)
                try:
                    self._with_version(lambda: self._flip(target, live))
                except (LoadRefused, VerificationFailed, ServerDown):
                    make_live(self.repository, self.names(live), live)
                    self._load_quietly(live)
                    raise
            return live, target

    def withdraw(self, version: int, previous: int | None, reason: str) -> None:
        """Takes a version out of the repository, and serves the one before. May be called again after a kill."""
        self._note("withdrawing", version, previous, reason)
        before = [] if previous is None else self.names(previous)
        if previous is not None:
            make_live(self.repository, before, previous)  # pinned: live before the other one is gone
            self._load_quietly(previous)
        take_out(self.repository, self._all_names(), version, reason)
        if previous is not None:
            make_live(self.repository, before, previous)
        for name in self._all_names():
            if name not in before:
                (self.repository / name / CONFIG).unlink(missing_ok=True)
                self._admin.forget(name)  # a server that is down finds nothing to load when it comes back

    def ensure_serving(self) -> bool:
        """Loads the live version where the server does not serve it, as after a restart. True if it had to.

        Does nothing while another process publishes or rolls back.
        """
        try:
            with locked(self.repository, timeout_s=0.0):
                live = self.live
                names = [] if live is None else self.names(live)
                missing = [name for name in names if live not in self._admin.ready_versions(name)]
                if live is not None and missing:  # a kill may have left the config.pbtxt of the version before
                    make_live(self.repository, names, live)
                for name in reversed(missing):
                    self._admin.load(name)
                return bool(missing)
        except RepositoryLocked:
            return False

    def prune(self, keep: int) -> list[int]:
        with locked(self.repository):
            return prune(self.repository, self._all_names(), keep)

    def clean_up(self) -> None:
        """What a killed publish left: candidates, staging folders, a version of the rank model alone."""
        with locked(self.repository):
            unload_candidates(self.repository, self._all_names(), self._admin)
            self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        remove_unfinished(self.repository, self._all_names())
        for name in self._all_names():
            folder = self.repository / name
            if folder.is_dir() and not versions(folder) and not rejected_versions(folder):
                shutil.rmtree(folder)  # Triton would refuse to start with a model without versions

    def _brought_in(self, exported: Exported) -> Exported:
        """On the repository's file system, where Triton does not look: what links to it shares memory in the server."""
        incoming = self.repository / self.name / f"{STAGING}incoming"
        folders = {name: incoming / name / folder.name for name, folder in exported.folders.items()}
        try:
            for name, folder in exported.folders.items():
                share_files(folder, folders[name])
                (folders[name] / CONFIG).unlink(missing_ok=True)
                (folders[name] / CONFIG).write_text(exported.configs()[name], encoding="utf-8")
        except (OSError, shutil.Error) as error:
            raise PublishFailed(f"{self.repository}: the version", error) from error
        return dataclasses.replace(exported, folders=folders)

    def _flip(self, version: int, previous: int | None) -> Verified:
        exported = Exported.of_version(self.repository, self.name, version)
        for name in reversed(list(exported.folders)):
            self._admin.load(name)
        self._note("loaded", version, previous)
        held = HeldSet.load(exported.folders[self.name])
        tolerance = tolerance_of(exported.manifest())
        return verify(self._connection, self.name, exported.rank_name, version, held, tolerance)

    def _with_version(self, action: Callable[[], Verified]) -> Verified:
        return self._patience.call_with_version(action, self._admin.is_up)

    def _load_quietly(self, version: int) -> None:
        """A server that is down loads it when it starts."""
        try:
            for name in reversed(self.names(version)):
                self._admin.load(name)
        except (ServerDown, LoadRefused):  # the latter is told by ensure_serving
            return

    def _write(self, exported: Exported, how: str, facts: Mapping[str, Any]) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        published = {"published": {"by": author(), "at": now, "how": how}, **facts}
        try:
            publish(
                self.repository,
                exported.configs(),
                lambda folders, version: exported.copy_into(folders, version, published),
            )
        except (OSError, shutil.Error, ExportError) as error:
            raise PublishFailed(f"{self.repository}: the version", error) from error

    def _check_rank(self, exported: Exported, previous: int | None) -> None:
        if previous is not None and exported.rank_name is None and len(self.names(previous)) > 1:
            raise SettingError(
                f"exported: it has no {self.name}{RANK}, but version {previous} has; they move together. Export "
                "with --rank, or remove the rank model from the repository first."
            )

    def _rollback_target(self, live: int | None, to: int | None) -> int:
        older = [v for v in self._numbers() if live is not None and v < live]
        if to is None and not older:
            raise SettingError(f"rollback: there is no version before {live or 'none'}; there are {self._numbers()}")
        target = older[-1] if to is None else to
        if target not in self._numbers():
            raise SettingError(f"--to: got {target}; expected one of {self._numbers()}")
        return target

    def _numbers(self) -> list[int]:
        return versions(self.repository / self.name)

    def _all_names(self) -> list[str]:
        return [self.name, self.name + RANK]
