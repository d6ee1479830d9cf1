"""Raw folder -> Parquet -> TFRecord, each by its own command in a child process, with its cost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tests.benchmarks.child import RECSERVE, run_child
from tests.benchmarks.fingerprints import (
    preprocessing_fingerprint,
    raw_fingerprint,
    settings_fingerprint,
)
from tests.benchmarks.output import Progress
from training.feature_spec import FeatureSpec

# about as many different items per user, and as full histories, as in MovieLens-1M
GENERATED = ("--users", "3000", "--items", "4000", "--categories", "300", "--mean_interactions", "200", "--seed", "1")
PREBATCH = "4096"
RECORD = "made.json"
ROWS_AT_ONCE = 8192
HISTORY = 100  # the default of --max_seq_len


@dataclass(frozen=True)
class Stage:
    """One preparing command. output_bytes: of the folder that it wrote."""

    seconds: float
    peak_memory_bytes: int
    output_bytes: int


@dataclass(frozen=True)
class Prepared:
    """A converted dataset. folder: of the TFRecord files. facts: as in the JSON. stages: name -> cost."""

    folder: Path
    facts: dict[str, Any]
    stages: dict[str, Stage]


def generated_raw(work: Path, progress: Progress) -> Path:
    """The generated raw folder, made once."""
    key = settings_fingerprint([GENERATED, preprocessing_fingerprint()])
    folder = work / "raw" / f"generated-{key}"
    if folder.is_dir():  # the command writes it whole or not at all
        progress.skip("generate")
        return folder
    _run("generate", ["--output_path", str(folder), *GENERATED], folder, progress)
    return folder


def prepare(raw: Path, folder: Path, rules: Sequence[str], progress: Progress) -> Prepared:
    """Preprocesses and converts anew into `folder`; the Parquet files are removed again.

    rules: options of `recserve preprocess`. Takes two steps of the progress.
    """
    parquet, records = folder / "parquet", folder / "tfrecord"
    paths = ["--amazon_dataset_path", str(raw), "--output_path", str(parquet)]
    stages = {"preprocess": _run("preprocess", [*paths, *rules], parquet, progress)}
    facts = {"raw_fingerprint": raw_fingerprint(raw), "history_fill": _history_fill(parquet)}
    paths = ["--amazon_dataset_path", str(parquet), "--tfrecord_output_dir", str(records)]
    prebatch = ["--prebatch_train_size", PREBATCH, "--prebatch_test_size", PREBATCH]
    stages["convert"] = _run("convert", [*paths, *prebatch], records, progress)
    shutil.rmtree(parquet)
    return Prepared(records, facts | _spec_facts(records), stages)


def prepare_once(raw: Path, folder: Path, rules: Sequence[str], progress: Progress) -> Prepared:
    """The same, unless `folder/KEY` has it: from equal raw files, by equal rules and code."""
    key = settings_fingerprint([raw_fingerprint(raw), list(rules), preprocessing_fingerprint()])
    folder = folder.with_name(f"{folder.name}-{key}")
    record = folder / RECORD
    if record.is_file():
        made = json.loads(record.read_text(encoding="utf-8"))
        stages = {name: Stage(**cost) for name, cost in made["stages"].items()}
        for name, stage in stages.items():
            progress.skip(name, stage.seconds)
        return Prepared(folder / "tfrecord", made["facts"], stages)
    prepared = prepare(raw, folder, rules, progress)
    stages_made = {name: asdict(stage) for name, stage in prepared.stages.items()}
    staged = record.with_suffix(".partial")
    staged.write_text(json.dumps({"facts": prepared.facts, "stages": stages_made}), encoding="utf-8")
    staged.replace(record)
    return prepared


def _run(command: str, options: Sequence[str], output: Path, progress: Progress) -> Stage:
    progress.begin(command)
    log = output.parent / f"{output.name}.{command}.log"
    cost = run_child([*RECSERVE, command, *options], log)
    size = sum(p.stat().st_size for p in output.rglob("*") if p.is_file())
    progress.end(cost.seconds, f"{size / 1e6:,.0f} MB written, peak memory {cost.peak_memory_bytes / 1e6:,.0f} MB")
    return Stage(cost.seconds, cost.peak_memory_bytes, size)


def _spec_facts(records: Path) -> dict[str, Any]:
    spec = FeatureSpec.load(records / "feature_spec.yaml", check_files=True)
    sizes = {
        feature.name: feature.cardinality
        for name in ("user_features", "target_item_features")
        for feature in spec.channel(name)
    }
    return {
        "rows": dict(spec.metadata["rows"]),
        "cardinalities": sizes,
        "data_fingerprint": spec.metadata["data_fingerprint"],
    }


def _history_fill(parquet: Path) -> float:
    """Mean share of the history's steps that are not padding, of the first file of train: how much work a row is."""
    file = pq.ParquetFile(min((parquet / "train").glob("*.parquet")))
    history = next(field.name for field in file.schema_arrow if pa.types.is_list(field.type))
    steps = rows = 0
    for batch in file.iter_batches(ROWS_AT_ONCE, columns=[history]):
        steps += pc.sum(pc.min_element_wise(pc.list_value_length(batch.column(0)), HISTORY)).as_py()
        rows += batch.num_rows
    return float(steps / rows / HISTORY)
