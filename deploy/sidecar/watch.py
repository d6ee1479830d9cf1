"""The watched folder: a dataset is complete once its feature_spec.yaml has been renamed into place."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import DatasetRefused
from training.feature_spec import FeatureSpec, FeatureSpecError

SPEC_FILE = "feature_spec.yaml"


@dataclass(frozen=True)
class Dataset:
    """fingerprint: of the specification, and of the sizes of its files. arrived: seconds since 1970."""

    folder: Path
    fingerprint: str
    arrived: float

    def spec(self) -> FeatureSpec:
        """Raises DatasetRefused, with every mistake."""
        try:
            return FeatureSpec.load(self.folder / SPEC_FILE, check_files=True)
        except (FeatureSpecError, OSError) as error:
            raise DatasetRefused(str(error)) from error


def waiting(data: Path, known: Collection[str]) -> list[Dataset]:
    """Complete datasets whose fingerprints are not known, oldest first: the folder itself, or its subfolders."""
    found = []
    for file in (data / SPEC_FILE, *sorted(data.glob(f"[!.]*/{SPEC_FILE}"))):
        with contextlib.suppress(OSError):  # it goes away, or cannot be read now: looked at again next time
            if file.is_file():
                found.append(_dataset(file))
    return sorted((d for d in found if d.fingerprint not in known), key=lambda d: (d.arrived, d.folder))


def dataset_in(folder: Path) -> Dataset | None:
    """As it is now; None if it has no specification."""
    file = folder / SPEC_FILE
    return _dataset(file) if file.is_file() else None


def _dataset(file: Path) -> Dataset:
    text = file.read_bytes()
    digest = hashlib.sha256(text)
    try:
        spec = FeatureSpec.load(file)
        named = {f for chunks in spec.sources.values() for chunk in chunks for f in chunk.files}
    except FeatureSpecError:
        named = set()
    for path in sorted(named):
        digest.update(f"{path.name}:{path.stat().st_size if path.is_file() else 'missing'}\n".encode())
    return Dataset(file.parent.resolve(), digest.hexdigest()[:16], file.stat().st_mtime)
