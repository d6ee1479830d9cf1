"""`recserve convert`: a Parquet dataset -> TFRecord files and feature_spec.yaml."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import DataError
from training.feature_spec import FeatureSpec
from training.preprocessing.dataset_layout import DatasetLayout, layout_of, read_metadata
from training.preprocessing.output_folder import staged_folder
from training.preprocessing.parquet_rows import Columns, column_names, part_files, read_rows, row_count
from training.preprocessing.read_ahead import read_ahead
from training.preprocessing.stages import Stages
from training.preprocessing.summary import table, timing_rows
from training.preprocessing.tfrecord_output import TFRecordFiles, write_split

KIND = "convert"
SPEC_FILE = "feature_spec.yaml"
TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class ConvertOptions:
    """What the command was asked for; the options' help says what each means."""

    amazon_dataset_path: Path
    tfrecord_output_dir: Path
    number_of_user_features: int = 1
    max_seq_len: int = 100
    prebatch_train_size: int = 0
    prebatch_test_size: int = 0
    train_split_dir: str = "train"
    test_split_dir: str = "test"
    validation_split_dir: str = VALIDATION
    metadata_file: str = "metadata.json"
    train_output_file: str = "train.tfrecord"
    test_output_file: str = "test.tfrecord"
    validation_output_file: str = "validation.tfrecord"

    def output_file(self, split: str) -> str:
        name: str = getattr(self, f"{split}_output_file")
        return name

    def prebatch_size(self, split: str) -> int:
        return self.prebatch_train_size if split == TRAIN else self.prebatch_test_size


@dataclass(frozen=True)
class ConvertResult:
    spec: FeatureSpec
    file_bytes: dict[str, int]
    seconds: dict[str, float]

    def describe(self) -> str:
        """The table that the command ends with."""
        rows: list[tuple[str, object]] = [
            (f"{mapping} rows", count) for mapping, count in self.spec.metadata["rows"].items()
        ]
        rows += [(f"size: {name}", f"{size / 1e6:,.1f} MB") for name, size in self.file_bytes.items()]
        return table("converted", [*rows, *timing_rows(self.seconds)])


def convert_parquet(options: ConvertOptions) -> ConvertResult:
    """Raises DataError for data that does not fit; then nothing is left behind."""
    source = options.amazon_dataset_path
    _check_file_names(options)
    parts = _parts(options)
    users = options.number_of_user_features
    described = read_metadata(source / options.metadata_file, users)
    first = parts[TRAIN][0]
    layout = layout_of(column_names(first), described, users, options.max_seq_len, first)
    stages = Stages()
    with staged_folder(options.tfrecord_output_dir, KIND, [source]) as staging:
        files, metadata = _write_splits(options, layout, parts, staging, stages)
        FeatureSpec.from_dict(layout.feature_spec(files, metadata), staging).save(staging / SPEC_FILE)
        sizes = {name: (staging / name).stat().st_size for names in files.values() for name in names}
    return ConvertResult(FeatureSpec.load(options.tfrecord_output_dir / SPEC_FILE), sizes, stages.seconds)


def _parts(options: ConvertOptions) -> dict[str, list[Path]]:
    """The Parquet files of each split; of validation only if it has a folder, or if one was asked for by name."""
    folders = {split: options.amazon_dataset_path / getattr(options, f"{split}_split_dir") for split in SPLITS}
    if options.validation_split_dir == VALIDATION and not folders[VALIDATION].exists():
        del folders[VALIDATION]
    return {split: part_files(folder) for split, folder in folders.items()}


def _check_file_names(options: ConvertOptions) -> None:
    option_names = ", ".join(f"{split}_output_file" for split in SPLITS)
    names = [options.output_file(split) for split in SPLITS]
    taken = {SPEC_FILE, *(remainder_file(split) for split in SPLITS)}
    for name in names:
        if Path(name).name != name or name.startswith("."):
            raise DataError(f"{option_names}: got {name!r}, expected a plain file name")
        if name in taken:
            raise DataError(f"{option_names}: {name!r} is needed for another file; choose another")
    if len(set(names)) < len(names):
        raise DataError(f"{option_names}: got {', '.join(names)}; expected different names")


def remainder_file(split: str) -> str:
    """Where the last rows of a prebatched split go that do not fill a record."""
    return f"{split}.remainder.tfrecord"


def _write_splits(
    options: ConvertOptions, layout: DatasetLayout, parts: dict[str, list[Path]], staging: Path, stages: Stages
) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """-> files per mapping, and the specification's metadata."""
    files, rows, checksums = {}, {}, {}
    for split, sources in parts.items():
        target = TFRecordFiles(staging, options.output_file(split), remainder_file(split), options.prebatch_size(split))
        checksum = _Checksum()
        with stages.stage(f"convert {split}", "rows", sum(map(row_count, sources))) as stage:
            files[split], rows[split] = write_split(target, read_ahead(checksum.over(_rows(sources, layout))), stage)
        checksums[split] = checksum.value
        if not rows[split]:
            raise DataError(f"{sources[0].parent}: no rows. A dataset needs at least one in each split.")
    metadata = {
        "prebatch_train_size": options.prebatch_train_size,
        "prebatch_test_size": options.prebatch_test_size,
        "rows_per_group": layout.rows_per_group,
        "rows": rows,
        "data_fingerprint": _fingerprint(layout, rows, checksums),
    }
    return files, metadata


def _rows(files: list[Path], layout: DatasetLayout) -> Iterator[Columns]:
    for file in files:
        yield from read_rows(file, layout)


class _Checksum:
    """A checksum per column of everything that passes; the same however the rows are cut into blocks and files."""

    def __init__(self) -> None:
        self.value: dict[str, int] = {}

    def over(self, blocks: Iterable[Columns]) -> Iterator[Columns]:
        for block in blocks:
            for name, values in block.items():
                self.value[name] = zlib.crc32(np.ascontiguousarray(values).data, self.value.get(name, 0))
            yield block


def _fingerprint(layout: DatasetLayout, rows: dict[str, int], checksums: dict[str, dict[str, int]]) -> str:
    """sha256 over layout, sizes and contents: equal if and only if the same rows come in the same order."""
    content = [[(c.name, c.cardinality) for c in layout.columns], layout.max_seq_len, rows, checksums]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8")).hexdigest()
