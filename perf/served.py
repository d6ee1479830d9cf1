"""The version that a server serves, and its files in the model repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client import GrpcTransport, Scorer, TlsFiles
from perf.errors import MeasureError
from perf.facts import read_json


@dataclass(frozen=True)
class Served:
    """manifest: what export wrote of the version; {} if it wrote none."""

    version: str
    spec_file: Path
    manifest: Mapping[str, Any]


def find_served(url: str, model: str, version: str, repository: Path, tls: TlsFiles | None = None) -> Served:
    """version "": the newest one that the server has loaded, which is what a client gets.

    Raises ScoringError if the server does not have it, MeasureError if the repository does not.
    """
    with Scorer(GrpcTransport(url, tls), model, version) as scorer:
        number = scorer.description.version
    folder = repository / model / number
    spec_file = folder / "feature_spec.yaml"
    if not spec_file.is_file():
        raise MeasureError(
            f"{spec_file}: no such file, but {url} serves {model} version {number}. Name the repository that it "
            "serves (--model_repository)."
        )
    manifest = folder / "manifest.json"
    return Served(number, spec_file, read_json(manifest) if manifest.is_file() else {})
