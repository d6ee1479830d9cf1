"""A small generated dataset for a first start on an empty volume, so that a model comes to serving by itself."""

from __future__ import annotations

import shutil
from pathlib import Path

from deploy.sidecar.children import RunStage

RECORDS = ("--prebatch_train_size", "256", "--prebatch_test_size", "256")


def bootstrap(data: Path, work: Path, users: int, run: RunStage) -> Path:
    """Generates, preprocesses and converts into data/bootstrap. What a killed start left is made anew.

    Raises StageFailed.
    """
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    data.mkdir(parents=True, exist_ok=True)
    raw, parquet, target = work / "raw", work / "parquet", data / "bootstrap"
    stages = {
        "generate": ("--output_path", str(raw), "--users", str(users), "--seed", "1"),
        "preprocess": ("--amazon_dataset_path", str(raw), "--output_path", str(parquet), "--seed", "1"),
        "convert": (
            "--amazon_dataset_path", str(parquet), "--tfrecord_output_dir", str(target),
            "--number_of_user_features", "1", *RECORDS,
        ),
    }  # fmt: skip
    for name, options in stages.items():
        run("bootstrap", [name, *options], work / "output.log")
    shutil.rmtree(raw, ignore_errors=True)
    shutil.rmtree(parquet, ignore_errors=True)
    return target
