"""Digests of files: what a kept result was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.benchmarks.child import ROOT, BenchmarkError

LENGTH = 16  # hexadecimal digits


def raw_fingerprint(folder: Path) -> str:
    """Of the contents of a raw folder. Raises BenchmarkError if it has no files."""
    files = sorted(p for p in folder.glob("*.json*") if p.is_file()) if folder.is_dir() else []
    if not files:
        raise BenchmarkError(f"DATA: expected a folder with raw Amazon files (reviews_*.json[.gz], …), got {folder}")
    return _digest(files, folder)


def sources_fingerprint() -> str:
    """Of all code that decides what a run computes: training/ without preprocessing and reports."""
    folder = ROOT / "training"
    files = [*folder.rglob("*.py"), *folder.glob("native/kernels/*")]
    others = (folder / "report", folder / "preprocessing")
    return _digest(sorted(p for p in files if p.parent not in others), folder)


def preprocessing_fingerprint() -> str:
    """Of the code that decides what a dataset holds."""
    folder = ROOT / "training"
    return _digest(sorted([*folder.glob("preprocessing/*.py"), *folder.glob("feature_spec*.py")]), folder)


def settings_fingerprint(settings: Any) -> str:
    """Of plain data."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:LENGTH]


def _digest(files: Iterable[Path], folder: Path) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(str(path.relative_to(folder)).encode() + b"\0")
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:LENGTH]
