"""Where rows lie: a feature_spec.yaml with its mapping, a file, or a folder of part files -> RowSource."""

from __future__ import annotations

import re
from pathlib import Path

from client.errors import DataFileError
from client.readers import FORMATS, reader_for
from client.rows import Part, RowSource
from training.feature_spec import FeatureSpec

SPEC_FILE = "feature_spec.yaml"
LABEL = "label"


def open_rows(data: Path, mapping: str = "test", spec_file: Path | None = None) -> RowSource:
    """data: a feature_spec.yaml, the folder of one, a data file, or a folder of part files.

    mapping: which rows of a specification; for a folder without one, its subfolder of that name if there is one.
    spec_file: for data files, names their label; and gives the columns of a Parquet file their names, in order, if
    the file calls them otherwise.
    Raises DataFileError, or FeatureSpecError for a bad specification.
    """
    if data.is_dir() and (data / SPEC_FILE).is_file():
        data = data / SPEC_FILE
    if data.suffix in (".yaml", ".yml"):
        if not data.is_file():
            raise DataFileError(f"{data}: no such file")
        return _from_spec(FeatureSpec.load(data), mapping)
    files = _data_files(data, mapping)
    spec = FeatureSpec.load(spec_file) if spec_file else None
    columns = _columns_of(files)
    label = _label_of(spec) if spec else LABEL
    features = {name: name for name in columns}
    if spec and files[0].suffix == ".parquet":
        features = _named_in_order(spec, mapping, columns) or features
    is_labelled = label in features
    return RowSource(
        (Part(tuple(files), features),), label if is_labelled else None, spec, None if is_labelled else label
    )


def _from_spec(spec: FeatureSpec, mapping: str) -> RowSource:
    chunks = spec.mapping(mapping)
    for chunk in chunks:
        if f".{chunk.type}" not in FORMATS:
            raise DataFileError(
                f"{spec.base_dir}, mapping {mapping}: chunks of type {chunk.type!r} cannot be scored; "
                "expected tfrecord or parquet"
            )
        missing = [str(file) for file in chunk.files if not file.is_file()]
        if missing:
            raise DataFileError(f"{spec.base_dir}, mapping {mapping}: no such file: {', '.join(missing)}")
    parts = tuple(Part(chunk.files, {name: name for name in chunk.features}) for chunk in chunks)
    label = _label_of(spec)
    return RowSource(parts, label if any(label in part.features for part in parts) else None, spec)


def _label_of(spec: FeatureSpec) -> str | None:
    members = spec.channels.get("label", ())
    return members[0] if len(members) == 1 else None


def _named_in_order(spec: FeatureSpec, mapping: str, columns: list[str]) -> dict[str, str] | None:
    """Parquet columns follow the specification's order, whatever their names. None if the names fit already."""
    described = [name for chunk in spec.mapping(mapping) for name in chunk.features]
    if set(described) <= set(columns) or len(described) != len(columns):
        return None
    return dict(zip(described, columns, strict=True))


def _data_files(data: Path, mapping: str) -> list[Path]:
    if data.is_file():
        reader_for(data)
        return [data]
    if not data.is_dir():
        raise DataFileError(f"{data}: no such file or folder")
    folder = data / mapping if (data / mapping).is_dir() else data
    files = [file for file in folder.iterdir() if file.suffix in FORMATS and file.is_file()]
    endings = sorted({file.suffix for file in files})
    if len(endings) != 1:
        found = f"files ending in {' and '.join(endings)}" if endings else "no data files"
        raise DataFileError(f"{folder}: got {found}; expected {SPEC_FILE}, or files of one of {', '.join(FORMATS)}")
    return sorted(files, key=_natural_order)


def _columns_of(files: list[Path]) -> list[str]:
    """Of the first file that tells them: only Parquet does so without rows."""
    for file in files:
        columns = reader_for(file).column_names(file)
        if columns:
            return columns
    others = f", nor do the {len(files) - 1} files after it" if len(files) > 1 else ""
    raise DataFileError(f"{files[0]}: holds no rows{others}. Write it again, or name other data.")


def _natural_order(file: Path) -> list[tuple[int, str]]:
    """part.10 after part.9."""
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in re.split(r"(\d+)", file.name)]
