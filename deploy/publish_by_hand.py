"""What `recserve versions publish` publishes: an export, fresh or from elsewhere, with a held set."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.exported import Exported
from deploy.held_set import HeldSet
from deploy.score_file import TestScores
from deploy.sidecar.children import Children
from deploy.sidecar.served_inputs import served_inputs
from export.repository import share_files

EXPORT_TIMEOUT_S = 3600.0


@contextmanager
def exported_version(
    checkpoint: Path | None, exported: Path | None, name: str, export_options: str, data: Path | None,
    scores: Path | None, held_rows: int,
) -> Iterator[Exported]:  # fmt: skip
    """In a folder that goes afterwards. Raises StageFailed, SettingError or DatasetRefused."""
    with tempfile.TemporaryDirectory(prefix="recserve-publish-") as folder:
        work = Path(folder)
        if checkpoint is not None:
            run = Children(nice=0, timeout_s=EXPORT_TIMEOUT_S)
            where = ("--checkpoint", str(checkpoint), "--model_repository", str(work / "models"), "--model_name", name)
            run("export", ["export", *where, *shlex.split(export_options)], work / "output.log")
            found = Exported.open(work / "models", name)
        else:
            found = _copied(Exported.open(exported or Path(), name), work / "models")
        if data is not None and scores is not None:
            held = HeldSet.of_dataset(data, TestScores.load(scores), served_inputs(found), held_rows)
            held.save(found.folders[name])
        yield found


def _copied(source: Exported, target: Path) -> Exported:
    """Links to the files, so that a held set can be put beside them."""
    for name, folder in source.folders.items():
        share_files(folder, target / name / folder.name)
    for name, config in source.configs().items():
        file = target / name / source.folders[name].name / "config.pbtxt"
        file.unlink(missing_ok=True)
        file.write_text(config, encoding="utf-8")
    return Exported({name: target / name / folder.name for name, folder in source.folders.items()})
