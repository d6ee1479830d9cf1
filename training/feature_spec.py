"""FeatureSpec: the one contract between data, training, export, serving and measuring.

The format is NVIDIA's *Dataset Feature Specification*: a YAML file with the sections `feature_spec`
(features and their metadata), `source_spec` (where the rows are), `channel_spec` (what a model uses
them for) and `metadata` (anything else). This module imports yaml and numpy only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from training.feature_spec_checks import CHUNK_TYPES, check_raw_spec, check_source_files, parse_dtype
from training.located_yaml import LocatedYaml

__all__ = ["CHUNK_TYPES", "Chunk", "Feature", "FeatureSpec", "FeatureSpecError"]


class FeatureSpecError(ValueError):
    """A feature specification with mistakes; `problems` lists every one of them, each with its place."""

    user_facing = True

    def __init__(self, source: str, problems: list[str]) -> None:
        self.problems = problems
        count = f"{len(problems)} mistake{'s' if len(problems) != 1 else ''}"
        super().__init__(f"{source}: {count} in the feature specification:\n" + "\n".join(f"  - {p}" for p in problems))


@dataclass(frozen=True)
class Feature:
    """One column of the dataset.

    cardinality: number of categories C; ids run from 1 to C and 0 is padding, so a table has C + 1 rows.
        None for numerical features and labels.
    dimensions: shape of one row's value without the batch axis; () is a scalar, (100,) a history of T = 100.
    extra: further metadata of the feature, kept as it stands in the file.
    """

    name: str
    dtype: np.dtype
    cardinality: int | None = None
    dimensions: tuple[int, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_sequence(self) -> bool:
        return len(self.dimensions) > 0

    def to_dict(self) -> dict[str, Any]:
        raw: dict[str, Any] = dict(self.extra)
        raw["dtype"] = self.dtype.name
        if self.cardinality is not None:
            raw["cardinality"] = self.cardinality
        if self.dimensions:
            raw["dimensions"] = list(self.dimensions)
        return raw


@dataclass(frozen=True)
class Chunk:
    """Features that are stored together. Rows 1..i are in the first file, i+1..j in the next, and so on."""

    type: str
    features: tuple[str, ...]
    files: tuple[Path, ...]


@dataclass(frozen=True)
class FeatureSpec:
    """A checked feature specification. File paths are absolute; `base_dir` is the folder of the YAML file."""

    features: Mapping[str, Feature]
    sources: Mapping[str, tuple[Chunk, ...]]
    channels: Mapping[str, tuple[str, ...]]
    metadata: Mapping[str, Any]
    base_dir: Path

    @classmethod
    def load(cls, path: str | os.PathLike[str], check_files: bool = False) -> FeatureSpec:
        """Reads and validates a YAML file.

        check_files: also require every file of every mapping to exist (False where only the
            contract is wanted, such as beside a checkpoint, which travels without the data).
        Raises FeatureSpecError with all mistakes at once, FileNotFoundError if there is no such file.
        """
        path = Path(path)
        document = LocatedYaml.parse(path.read_bytes())
        if document.errors:
            raise FeatureSpecError(str(path), document.errors)
        return cls._build(document.value, path.parent.resolve(), str(path), document, check_files)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], base_dir: str | os.PathLike[str] = ".") -> FeatureSpec:
        """Validates the same structure given as a dictionary; relative files resolve against base_dir."""
        return cls._build(raw, Path(base_dir).resolve(), "feature spec", LocatedYaml.without_places(raw), False)

    @classmethod
    def _build(cls, raw: Any, base_dir: Path, source: str, document: LocatedYaml, check_files: bool) -> FeatureSpec:
        problems = check_raw_spec(raw, base_dir)
        if check_files:
            problems += check_source_files(raw, base_dir)
        if problems:
            raise FeatureSpecError(source, [p.describe(document) for p in problems])
        features = {}
        for name, meta in raw["feature_spec"].items():
            extra = {k: v for k, v in meta.items() if k not in ("dtype", "cardinality", "dimensions")}
            dimensions = tuple(meta.get("dimensions") or ())
            features[name] = Feature(name, parse_dtype(meta["dtype"]), meta.get("cardinality"), dimensions, extra)
        sources = {
            mapping: tuple(
                Chunk(c["type"], tuple(c["features"]), tuple(base_dir / f for f in c["files"])) for c in chunks
            )
            for mapping, chunks in raw["source_spec"].items()
        }
        channels = {name: tuple(members) for name, members in raw["channel_spec"].items()}
        return cls(features, sources, channels, dict(raw.get("metadata") or {}), base_dir)

    def channel(self, name: str) -> tuple[Feature, ...]:
        """The features of a channel, in the file's order. Raises FeatureSpecError if there is no such channel."""
        if name not in self.channels:
            known = ", ".join(sorted(self.channels)) or "none"
            raise FeatureSpecError(
                str(self.base_dir), [f"channel_spec has no channel {name!r}; it has: {known}. Add it to the file."]
            )
        return tuple(self.features[f] for f in self.channels[name])

    def mapping(self, name: str) -> tuple[Chunk, ...]:
        """The chunks of a mapping such as "train". Raises FeatureSpecError if there is no such mapping."""
        if name not in self.sources:
            known = ", ".join(sorted(self.sources)) or "none"
            raise FeatureSpecError(
                str(self.base_dir), [f"source_spec has no mapping {name!r}; it has: {known}. Add it to the file."]
            )
        return self.sources[name]

    def differences(self, other: FeatureSpec, ours: str = "this", theirs: str = "the other") -> list[str]:
        """What keeps a model of this specification from being used with the other: features and channels that differ.

        ours, theirs: what the sentences call the two.
        """
        found = [
            f"feature {name}: {ours} has {self._form_of(name)}, {theirs} has {other._form_of(name)}"
            for name in {**self.features, **other.features}
            if self._form_of(name) != other._form_of(name)
        ]
        return found + [
            f"channel {name}: {ours} has {self._members_of(name)}, {theirs} has {other._members_of(name)}"
            for name in {**self.channels, **other.channels}
            if self._members_of(name) != other._members_of(name)
        ]

    def _form_of(self, name: str) -> str:
        f = self.features.get(name)
        return "nothing" if f is None else f"cardinality {f.cardinality}, dimensions {list(f.dimensions)}"

    def _members_of(self, channel: str) -> str:
        return ", ".join(self.channels.get(channel, ())) or "nothing"

    def to_dict(self) -> dict[str, Any]:
        """The four sections as plain data; files relative to base_dir."""
        return {
            "feature_spec": {name: feature.to_dict() for name, feature in self.features.items()},
            "source_spec": {
                mapping: [
                    {
                        "type": chunk.type,
                        "features": list(chunk.features),
                        "files": [os.path.relpath(f, self.base_dir) for f in chunk.files],
                    }
                    for chunk in chunks
                ]
                for mapping, chunks in self.sources.items()
            },
            "channel_spec": {name: list(members) for name, members in self.channels.items()},
            "metadata": dict(self.metadata),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the YAML file beside its final name, then renames it into place."""
        path = Path(path)
        staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        staged.write_text(yaml.safe_dump(self.to_dict(), sort_keys=False), encoding="utf-8")
        staged.replace(path)
