"""Datasets of the input pipeline, read whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.feature_spec import FeatureSpec
from training.input_pipeline import Dataset


def open_dataset(folder: Path, batch_size: int, mapping: str = "train", **options) -> Dataset:
    spec = FeatureSpec.load(folder / "feature_spec.yaml", check_files=True)
    features = [f for name, f in spec.features.items() if name != "label"]
    return Dataset(spec, mapping, features, "label", batch_size, **options)


def read(dataset: Dataset, **options) -> tuple[list[int], dict[str, np.ndarray]]:
    batches = list(dataset.batches(**options))
    columns = {f.name: np.concatenate([b.features[f.name].numpy() for b in batches]) for f in dataset.features}
    columns["label"] = np.concatenate([b.label.numpy() for b in batches])
    return [b.global_rows for b in batches], columns


def sorted_rows(columns: dict[str, np.ndarray]) -> np.ndarray:
    flat = np.concatenate([c.reshape(len(c), -1) for _, c in sorted(columns.items())], axis=1)
    return flat[np.lexsort(flat.T)]
