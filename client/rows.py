"""Rows of files as batches of arrays that fit the served model, with their labels."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.errors import DataFileError
from client.readers import Columns, reader_for
from client.transport import TensorDescription
from training.feature_spec import FeatureSpec


@dataclass(frozen=True)
class Part:
    """Files that hold the same columns, in the order of their rows. features: {feature name: stored column}."""

    files: tuple[Path, ...]
    features: Mapping[str, str]


@dataclass(frozen=True)
class RowSource:
    """Where rows lie. Several parts are columns of the same rows. label: the label's feature, None if unlabelled.

    absent: the column of a label that the first rows do not have; then it is an error in later ones.
    """

    parts: tuple[Part, ...]
    label: str | None
    spec: FeatureSpec | None
    absent: str | None = None

    def batches(
        self,
        inputs: Mapping[str, TensorDescription],
        rows: int,
        limit: int | None = None,
        lists: Collection[str] = (),
    ) -> Iterator[tuple[Columns, np.ndarray | None]]:
        """({input name: [n, T]}, labels [n] or None), `rows` rows at a time, in order, at most `limit` in all.

        lists: inputs of any number of values a row, of the shape (-1,); with one row at a time.
        Raises DataFileError for a feature that is nowhere, or of another width than the model takes; and while
        reading, for damaged files, values that do not fit, and parts of different lengths.
        """
        wanted = dict(inputs)
        if self.label is not None:
            wanted[self.label] = TensorDescription(self.label, np.dtype(np.float32), (1,))
        self._check({name: tensor for name, tensor in inputs.items() if name not in lists}, wanted)
        streams = []
        for part in self.parts:
            fields = {part.features[name]: wanted[name] for name in part.features if name in wanted}
            if fields:
                streams.append(_rebatched(_stream(part.files, fields, rows, self.absent), rows, limit))
        return self._zipped(streams)

    def _zipped(self, streams: Sequence[Iterator[Columns]]) -> Iterator[tuple[Columns, np.ndarray | None]]:
        while True:
            pieces = [next(stream, None) for stream in streams]
            whole = [piece for piece in pieces if piece is not None]
            if not whole:
                return
            if len({_rows_of(piece) for piece in whole}) > 1 or len(whole) < len(pieces):
                raise DataFileError("the chunks of this mapping differ in their number of rows. Write them again.")
            columns = {name: column for piece in whole for name, column in piece.items()}
            label = columns.pop(self.label)[:, 0] if self.label is not None else None
            yield columns, label

    def _check(self, inputs: Mapping[str, TensorDescription], wanted: Mapping[str, TensorDescription]) -> None:
        has = [name for part in self.parts for name in part.features]
        missing = [name for name in wanted if name not in has]
        if missing:
            raise DataFileError(
                f"{self.parts[0].files[0]}: no column {', '.join(missing)}; it has: {', '.join(has)}. "
                "Name the columns as the model's inputs, or give the dataset's feature_spec.yaml."
            )
        for name, tensor in inputs.items():
            if len(tensor.shape) != 1 or tensor.shape[0] < 1:
                raise DataFileError(
                    f"input {name}: the model takes the shape {list(tensor.shape)} in each row; files can hold scalars "
                    "and histories of a fixed width. Use `recserve rank` for a rank model, client.Scorer for others."
                )
            described = (self.spec.features[name].dimensions or (1,)) if self.spec else tensor.shape
            if described != tensor.shape:
                raise DataFileError(
                    f"feature {name}: the dataset's specification says {described[0]} values a row; the model takes "
                    f"{tensor.shape[0]}. Score with the data that the model was trained for."
                )


def _stream(
    files: Sequence[Path], fields: Mapping[str, TensorDescription], rows: int, absent: str | None
) -> Iterator[Columns]:
    for file in files:
        yield from reader_for(file).read(file, fields, rows, absent)


def _rebatched(pieces: Iterator[Columns], rows: int, limit: int | None) -> Iterator[Columns]:
    """The same rows in pieces of exactly `rows`, the last one perhaps smaller, at most `limit` in all."""
    left = limit
    held: list[Columns] = []
    held_rows = 0
    for piece in pieces:
        held.append(piece)
        held_rows += _rows_of(piece)
        while held_rows >= rows or (left is not None and held_rows >= left):
            joined = {name: np.concatenate([part[name] for part in held]) for name in held[0]}
            take = rows if left is None else min(rows, left)
            if take:
                yield {name: column[:take] for name, column in joined.items()}
            held, held_rows = [{name: column[take:] for name, column in joined.items()}], held_rows - take
            if left is not None:
                left -= take
                if left == 0:
                    return
    if held_rows:
        yield {name: np.concatenate([part[name] for part in held]) for name in held[0]}


def _rows_of(columns: Columns) -> int:
    return len(next(iter(columns.values())))
