"""Datasets in which rows belong together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def write_pairs(write_dataset, columns_of, write_records):
    """write_pairs(pairs=…, prebatch=…) -> dataset folder in which every two rows share their histories."""

    def write(pairs: int, prebatch: int = 1) -> Path:
        folder = write_dataset(train_rows=2 * pairs, test_rows=10, prebatch=prebatch)
        columns = {name: np.repeat(values, 2, axis=0) for name, values in columns_of(pairs, seed=1).items()}
        columns["label"] = np.tile([1, 0], pairs)
        write_records(folder / "train.tfrecord", columns, prebatch)
        text = (folder / "feature_spec.yaml").read_text()
        (folder / "feature_spec.yaml").write_text(text.replace("metadata:\n", "metadata:\n  rows_per_group: 2\n"))
        return folder

    return write
