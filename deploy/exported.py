"""What `recserve export` wrote into a folder of its own: models of one version, not yet in the repository."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.errors import SettingError
from export.live_version import CONFIG, renamed
from export.repository import Folders, share_files, versions

MANIFEST = "manifest.json"
RANK = "_rank"


@dataclass(frozen=True)
class Exported:
    """folders: {model name: its version's folder}, the pointwise model first."""

    folders: Mapping[str, Path]

    @classmethod
    def open(cls, repository: Path, name: str) -> Exported:
        """The newest version there. Raises SettingError if there is none."""
        numbers = versions(repository / name)
        if not numbers:
            raise SettingError(
                f"exported: {repository} has no version of model {name}. Make one with "
                f"`recserve export --model_repository {repository} --model_name {name}`."
            )
        return cls.of_version(repository, name, numbers[-1])

    @classmethod
    def of_version(cls, repository: Path, name: str, version: int) -> Exported:
        """A version with what belongs to it. Raises SettingError if it has no manifest."""
        folders = {n: repository / n / str(version) for n in (name, name + RANK)}
        found = cls({n: f for n, f in folders.items() if f.is_dir()})
        if name not in found.folders:
            raise SettingError(f"version: got {version}; {repository / name} has {versions(repository / name)}")
        return found

    @property
    def name(self) -> str:
        return next(iter(self.folders))

    @property
    def rank_name(self) -> str | None:
        return next((n for n in self.folders if n != self.name), None)

    def manifest(self, name: str | None = None) -> dict[str, Any]:
        """{} for a version without one. Raises SettingError if it is damaged."""
        file = self.folders[name or self.name] / MANIFEST
        try:
            manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise SettingError(f"{file}: damaged: {error}. Export the checkpoint again.") from error
        return manifest

    def configs(self) -> dict[str, str]:
        """{model name: config.pbtxt} without a version policy."""
        return {name: renamed(self._config(name), name) for name in self.folders}

    def copy_into(self, targets: Folders, version: int, facts: Mapping[str, Any]) -> None:
        """Links or copies the files of each model into its target folder, as that version. facts: for the manifest."""
        for name, source in self.folders.items():
            for item in source.iterdir():
                if item.is_dir():
                    share_files(item, targets[name] / item.name)
                elif item.name not in (MANIFEST, CONFIG):
                    shutil.copy2(item, targets[name] / item.name)
            manifest = {**self.manifest(name), "version": version, **facts}
            (targets[name] / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")

    def _config(self, name: str) -> str:
        own = self.folders[name] / CONFIG
        file = (
            own if own.is_file() else self.folders[name].parent / CONFIG
        )  # an older export kept none with the version
        try:
            return file.read_text(encoding="utf-8")
        except OSError as error:
            raise SettingError(f"{file}: cannot be read: {error.strerror}. Export the checkpoint again.") from error
