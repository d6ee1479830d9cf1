"""Tries a version under another name, `<model>_candidate`, before it gets any request of users.

A version that Triton refuses to load stays in Triton's books as failed and makes the whole server "not ready", though
the version before goes on serving. Under a name of its own it is unloaded without a trace. While the candidate stays
loaded, our backend shares its session with the same files under another name, so that the flip takes no time.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from deploy.connection import Connection
from deploy.errors import PublishFailed
from deploy.exported import Exported
from deploy.held_set import HeldSet
from deploy.server_admin import ServerAdmin
from deploy.verification import Verified, tolerance_of, verify
from export.live_version import CONFIG, renamed
from export.repository import share_files

SUFFIX = "_candidate"


class Candidate:
    """Context manager: unloaded and gone afterwards, whatever happened."""

    def __init__(self, repository: Path, exported: Exported, connection: Connection, admin: ServerAdmin) -> None:
        self._repository, self._exported = repository, exported
        self._connection, self._admin = connection, admin

    def check(self) -> Verified:
        """Loads it and compares its scores with the held set. Raises LoadRefused, VerificationFailed or ServerDown."""
        exported = self._exported
        try:
            try:
                self._place()
            except (OSError, shutil.Error) as error:
                raise PublishFailed(f"{self._repository}: the candidate", error) from error
            for name in reversed(list(exported.folders)):
                self._admin.load(name + SUFFIX)
        finally:
            self._remove_folders()  # Triton has read them; one that starts now must not find them
        rank = exported.rank_name and exported.rank_name + SUFFIX
        held = HeldSet.load(exported.folders[exported.name])
        return verify(
            self._connection, exported.name + SUFFIX, rank, 1, held, tolerance_of(exported.manifest())
        )  # fmt: skip

    def __enter__(self) -> Candidate:
        return self

    def __exit__(self, *_: object) -> None:
        unload_candidates(self._repository, list(self._exported.folders), self._admin)

    def _place(self) -> None:
        configs = self._exported.configs()
        for name, folder in self._exported.folders.items():
            model = self._repository / (name + SUFFIX)
            shutil.rmtree(model, ignore_errors=True)
            model.mkdir(parents=True)
            share_files(folder, model / "1")
            (model / CONFIG).write_text(renamed(configs[name], name + SUFFIX), encoding="utf-8")

    def _remove_folders(self) -> None:
        for name in self._exported.folders:
            shutil.rmtree(self._repository / (name + SUFFIX), ignore_errors=True)


def unload_candidates(repository: Path, names: list[str], admin: ServerAdmin) -> None:
    """Those of these models, also what a killed publish left. What the server keeps now is unloaded the next time."""
    for name in names:
        shutil.rmtree(repository / (name + SUFFIX), ignore_errors=True)
    for name in names:
        admin.forget(name + SUFFIX)
