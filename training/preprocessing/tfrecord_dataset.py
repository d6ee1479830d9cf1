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
from training.preprocessing.row_pairs import PAIR, PairSearch
from training.preprocessing.stages import Stages
from training.preprocessing.summary import table, timing_rows
from training.preprocessing.tfrecord_output import TFRecordFiles, write_split

KIND = "convert"
SPEC_FILE = "feature_spec.yaml"
FOUND_PAIRS = (
    "rows_per_group: 2, because every two consecutive training rows have the same user features and histories. "
    "Training keeps them together; to have each row shuffled by itself, write rows_per_group: 1 into metadata.json."
)
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
    """has_found_pairs: metadata.json said no rows_per_group, and the training rows come in pairs."""

    spec: FeatureSpec
    file_bytes: dict[str, int]
    seconds: dict[str, float]
    has_found_pairs: bool

    def describe(self) -> str:
        """The table that the command ends with."""
        rows: list[tuple[str, object]] = [
            (f"{mapping} rows", count) for mapping, count in self.spec.metadata["rows"].items()
        ]
        rows += [(f"size: {name}", f"{size / 1e6:,.1f} MB") for name, size in self.file_bytes.items()]
        text = table("converted", [*rows, *timing_rows(self.seconds)])
        return f"{text}\n{FOUND_PAIRS}" if self.has_found_pairs else text


def convert_parquet(options: ConvertOptions) -> ConvertResult:
    """Raises DataError for data that does not fit; then nothing is left behind."""
    source = options.amazon_dataset_path
    _check_file_names(options)
    parts = _parts(options)
    users = options.number_of_user_features
    described = read_metadata(source / options.metadata_file, users)
    first = parts[TRAIN][0]
    layout = layout_of(column_names(first), described, users, options.max_seq_len, first)
    stages, pairs = Stages(), PairSearch(layout.shared_names())
    with staged_folder(options.tfrecord_output_dir, KIND, [source]) as staging:
        files, metadata = _write_splits(options, layout, parts, staging, stages, pairs)
        has_found_pairs = described.rows_per_group is None and pairs.holds
        metadata["rows_per_group"] = described.rows_per_group or (PAIR if pairs.holds else 1)
        FeatureSpec.from_dict(layout.feature_spec(files, metadata), staging).save(staging / SPEC_FILE)
        sizes = {name: (staging / name).stat().st_size for names in files.values() for name in names}
    return ConvertResult(
        FeatureSpec.load(options.tfrecord_output_dir / SPEC_FILE), sizes, stages.seconds, has_found_pairs
    )


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
    options: ConvertOptions,
    layout: DatasetLayout,
    parts: dict[str, list[Path]],
    staging: Path,
    stages: Stages,
    pairs: PairSearch,
) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """-> files per mapping, and the specification's metadata. pairs: sees the training rows."""
    files, rows, checksums = {}, {}, {}
    for split, sources in parts.items():
        target = TFRecordFiles(staging, options.output_file(split), remainder_file(split), options.prebatch_size(split))
        checksum = _Checksum()
        with stages.stage(f"convert {split}", "rows", sum(map(row_count, sources))) as stage:
            blocks = _rows(sources, layout, pairs if split == TRAIN else None)
            files[split], rows[split] = write_split(target, read_ahead(checksum.over(blocks)), stage)
        checksums[split] = checksum.value
        if not rows[split]:
            raise DataError(f"{sources[0].parent}: no rows. A dataset needs at least one in each split.")
    metadata = {
        "prebatch_train_size": options.prebatch_train_size,
        "prebatch_test_size": options.prebatch_test_size,
        "rows": rows,
        "data_fingerprint": _fingerprint(layout, rows, checksums),
    }
    return files, metadata


def _rows(files: list[Path], layout: DatasetLayout, pairs: PairSearch | None) -> Iterator[Columns]:
    for file in files:
        blocks = read_rows(file, layout)
        yield from blocks if pairs is None else pairs.over(blocks)


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
