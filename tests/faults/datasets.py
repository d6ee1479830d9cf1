"""Small datasets for the trials, made by the commands that users have: generate, preprocess, convert."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

ROOT = Path(__file__).parents[2]
SPEC = "feature_spec.yaml"


def recserve(*arguments: object, timeout_s: float = 600.0) -> str:
    """Standard output; raises with both streams if the command fails."""
    command = [sys.executable, "-m", "recserve", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, cwd=ROOT, env=environment, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    return done.stdout


class Datasets:
    """work: for raw data and templates. `arrive` puts a dataset into the watched folder as its writer would."""

    def __init__(self, work: Path, users: int) -> None:
        self._work, self._users = work, users
        self._arrived = 0
        self._parquet = {seed: self._preprocessed(seed) for seed in (1,)}

    def arrive(self, watched: Path, kind: str = "same") -> Path:
        """same: rows and form of the first. other_form: other cardinalities. reversed: training labels are wrong."""
        template = self._template(kind)
        self._arrived += 1
        target = watched / f"day-{self._arrived:03d}-{kind}"
        shutil.copytree(template, target, ignore=shutil.ignore_patterns(SPEC), copy_function=os.link)
        spec = yaml.safe_load((template / SPEC).read_text())
        spec["metadata"]["day"] = self._arrived
        staged = target / f".{SPEC}.tmp"
        staged.write_text(yaml.safe_dump(spec, sort_keys=False))
        staged.replace(target / SPEC)
        return target

    def _template(self, kind: str) -> Path:
        target = self._work / f"template-{kind}"
        if target.is_dir():
            return target
        seed = 2 if kind == "other_form" else 1
        if seed not in self._parquet:
            self._parquet[seed] = self._preprocessed(seed)
        parquet = self._parquet[seed]
        if kind == "reversed":
            parquet = self._with_reversed_labels(parquet)
        records = ("--prebatch_train_size", 256, "--prebatch_test_size", 256)
        recserve(
            "convert", "--amazon_dataset_path", parquet, "--tfrecord_output_dir", target,
            "--number_of_user_features", 1, *records,
        )  # fmt: skip
        return target

    def _preprocessed(self, seed: int) -> Path:
        raw, parquet = self._work / f"raw-{seed}", self._work / f"parquet-{seed}"
        recserve("generate", "--output_path", raw, "--users", self._users, "--seed", seed)
        recserve("preprocess", "--amazon_dataset_path", raw, "--output_path", parquet, "--seed", seed)
        return parquet

    def _with_reversed_labels(self, parquet: Path) -> Path:
        target = parquet.with_name("parquet-reversed")
        shutil.copytree(parquet, target)
        for file in (target / "train").glob("*.parquet"):
            table = pq.read_table(file)
            column = table.schema.get_field_index("label")
            labels = pa.array(1 - table.column("label").to_numpy(), table.schema.field("label").type)
            pq.write_table(table.set_column(column, "label", labels), file)
        return target
