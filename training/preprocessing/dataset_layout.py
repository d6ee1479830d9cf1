"""What a Parquet dataset holds, from metadata.json and the order of its columns; and its feature specification."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import DataError

TIME_CHANNELS = ("target_timestamp", "history_timestamps")


@dataclass(frozen=True)
class Column:
    """One column. cardinality: None for label and times. is_sequence: a list per row. is_time: whole seconds."""

    name: str
    cardinality: int | None
    is_sequence: bool
    is_time: bool = False

    @property
    def dtype(self) -> type[np.signedinteger]:
        """What holds its values in memory."""
        return np.int64 if self.is_time or (self.cardinality or 0) >= 2**31 else np.int32


@dataclass(frozen=True)
class DatasetLayout:
    """The columns in the file's order: label, user features, target item features, positive, negative histories;
    then, if there are any, the target's time and the positive history's times."""

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
        channels = {
            "label": names[:1],
            "user_features": names[1:target],
            "target_item_features": names[target : target + items],
            "positive_history": names[target + items : target + 2 * items],
            "negative_history": names[target + 2 * items : target + 3 * items],
        }
        times = [column.name for column in self.columns if column.is_time]
        return channels | dict(zip(TIME_CHANNELS, ([name] for name in times), strict=False))

    def shared_names(self) -> list[str]:
        """What the rows of a group have in common: user features, histories and their times."""
        channels = self.channels()
        shared = ("user_features", "positive_history", "negative_history", TIME_CHANNELS[1])
        return [name for channel in shared for name in channels.get(channel, [])]

    def same_lengths(self) -> list[list[str]]:
        """Histories that must be equally long in each row."""
        channels = self.channels()
        return [channels["positive_history"] + channels.get(TIME_CHANNELS[1], []), channels["negative_history"]]

    def feature_spec(self, files: Mapping[str, Sequence[str]], metadata: Mapping[str, Any]) -> dict[str, Any]:
        """The four sections. files: {mapping: its TFRecord files}."""
        features: dict[str, Any] = {}
        for column in self.columns:
            is_label = column.cardinality is None and not column.is_time
            meta: dict[str, Any] = {"dtype": "bool" if is_label else "int64"}
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


@dataclass(frozen=True)
class ParquetMetadata:
    """What metadata.json says. cardinalities: of the user features, then of the item features, in order.

    rows_per_group: consecutive rows that belong together and share their histories; None: not said. timestamps: names
    of the two columns with times (target, positive history), which are then the last ones; None if there are none.
    """

    cardinalities: tuple[int, ...]
    rows_per_group: int | None = None
    timestamps: tuple[str, str] | None = None


def layout_of(
    names: Sequence[str], metadata: ParquetMetadata, user_features: int, max_seq_len: int, source: Path
) -> DatasetLayout:
    """names: of the columns of `source`. Raises DataError if they are not 1 label + user features + 3 × item features
    (+ 2 times)."""
    cardinalities, times = metadata.cardinalities, metadata.timestamps or ()
    item_features = len(cardinalities) - user_features
    expected = 1 + user_features + 3 * item_features + len(times)
    if len(names) != expected:
        raise DataError(
            f"{source}: got {len(names)} columns ({', '.join(names)}), expected {expected}: 1 label, {user_features} "
            f"user features, 3 times {item_features} item features (target, positive history, negative history; there "
            f"are {len(cardinalities)} cardinalities){', 2 with times' if times else ''}. Fix the columns, "
            "--number_of_user_features or the metadata."
        )
    if len(set(names)) != len(names):
        raise DataError(f"{source}: got columns {', '.join(names)}; expected a different name for each. Rename them.")
    if tuple(names[len(names) - len(times) :]) != tuple(times):
        raise DataError(
            f"{source}: the last columns are {', '.join(names[-2:])}, expected {', '.join(times)} (the metadata's "
            "timestamps: target, history). Put them there."
        )
    users, items = list(cardinalities[:user_features]), list(cardinalities[user_features:])
    sizes: list[int | None] = [None, *users, *items, *items, *items]
    scalars = 1 + user_features + item_features
    described = zip(names[: len(sizes)], sizes, strict=True)
    columns = [Column(name, size, place >= scalars) for place, (name, size) in enumerate(described)]
    columns += [
        Column(name, None, is_sequence, is_time=True) for name, is_sequence in zip(times, (False, True), strict=False)
    ]
    return DatasetLayout(tuple(columns), user_features, item_features, max_seq_len)


def read_metadata(path: Path, user_features: int) -> ParquetMetadata:
    """metadata.json. Raises DataError if it does not fit the structure, naming what."""
    example = '{"cardinalities": [{"name": "uid", "value": 105925}, …]}'
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = content["cardinalities"]
        values = tuple(entry["value"] for entry in entries)
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
    rows = content.get("rows_per_group")
    if rows is not None and (type(rows) is not int or rows < 1):
        raise DataError(f"{path}: rows_per_group: got {rows!r}, expected a whole number >= 1")
    return ParquetMetadata(values, rows, _timestamps(content.get("timestamps"), path))


def _timestamps(names: Any, path: Path) -> tuple[str, str] | None:
    if names is None:
        return None
    keys = ("target", "history")
    if not isinstance(names, dict) or set(names) != set(keys) or not all(isinstance(v, str) for v in names.values()):
        raise DataError(
            f'{path}: timestamps: got {names!r}, expected {{"target": COLUMN, "history": COLUMN}}, or leave it out'
        )
    return names["target"], names["history"]
