"""What a Parquet dataset holds, from metadata.json and the order of its columns; and its feature specification."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import DataError


@dataclass(frozen=True)
class Column:
    """One column. cardinality: None for the label. is_sequence: a list per row."""

    name: str
    cardinality: int | None
    is_sequence: bool

    @property
    def dtype(self) -> type[np.signedinteger]:
        """What holds its values in memory."""
        return np.int32 if self.cardinality is None or self.cardinality < 2**31 else np.int64


@dataclass(frozen=True)
class DatasetLayout:
    """The columns in the file's order: label, user features, target item features, positive, negative histories."""

    columns: tuple[Column, ...]
    user_features: int
    item_features: int
    max_seq_len: int

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def channels(self) -> dict[str, list[str]]:
        """Channel name -> feature names."""
        names, users, items = self.names, self.user_features, self.item_features
        target = 1 + users
        return {
            "label": names[:1],
            "user_features": names[1:target],
            "target_item_features": names[target : target + items],
            "positive_history": names[target + items : target + 2 * items],
            "negative_history": names[target + 2 * items :],
        }

    def feature_spec(self, files: Mapping[str, Sequence[str]], metadata: Mapping[str, Any]) -> dict[str, Any]:
        """The four sections. files: {mapping: its TFRecord files}."""
        features: dict[str, Any] = {}
        for column in self.columns:
            meta: dict[str, Any] = {"dtype": "bool" if column.cardinality is None else "int64"}
            if column.cardinality is not None:
                meta["cardinality"] = column.cardinality
            if column.is_sequence:
                meta["dimensions"] = [self.max_seq_len]
            features[column.name] = meta
        sources = {
            mapping: [{"type": "tfrecord", "features": self.names, "files": list(names)}]
            for mapping, names in files.items()
        }
        return {
            "feature_spec": features,
            "source_spec": sources,
            "channel_spec": self.channels(),
            "metadata": dict(metadata),
        }


def layout_of(
    names: Sequence[str], cardinalities: Sequence[int], user_features: int, max_seq_len: int, source: Path
) -> DatasetLayout:
    """cardinalities: of the user features, then of the item features. Raises DataError if the columns are not
    1 label + user features + 3 × item features."""
    item_features = len(cardinalities) - user_features
    expected = 1 + user_features + 3 * item_features
    if len(names) != expected:
        raise DataError(
            f"{source}: got {len(names)} columns ({', '.join(names)}), expected {expected}: 1 label, {user_features} "
            f"user features, 3 times {item_features} item features (target, positive history, negative history; there "
            f"are {len(cardinalities)} cardinalities). Fix the columns, --number_of_user_features or the metadata."
        )
    if len(set(names)) != len(names):
        raise DataError(f"{source}: got columns {', '.join(names)}; expected a different name for each. Rename them.")
    users, items = list(cardinalities[:user_features]), list(cardinalities[user_features:])
    sizes: list[int | None] = [None, *users, *items, *items, *items]
    scalars = 1 + user_features + item_features
    described = zip(names, sizes, strict=True)
    columns = tuple(Column(name, size, place >= scalars) for place, (name, size) in enumerate(described))
    return DatasetLayout(columns, user_features, item_features, max_seq_len)


def read_cardinalities(path: Path, user_features: int) -> list[int]:
    """The table sizes of metadata.json in order. Raises DataError if it does not fit the seed's structure."""
    example = '{"cardinalities": [{"name": "uid", "value": 105925}, …]}'
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["cardinalities"]
        values = [entry["value"] for entry in entries]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). It must hold {example}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not the expected structure ({error!r}). It must hold {example}.") from error
    for entry in entries:
        value = entry["value"]
        if type(value) is not int or value < 1:
            raise DataError(
                f"{path}: cardinality of {entry.get('name')!r}: got {value!r}, expected a whole number >= 1"
            )
    if len(values) <= user_features:
        raise DataError(
            f"{path}: got {len(values)} cardinalities, but --number_of_user_features {user_features} leaves none for "
            "item features. Add them, or lower the number."
        )
    return values
