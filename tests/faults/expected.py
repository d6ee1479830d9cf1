"""Scores rows with SavedModels: `python -m tests.faults.expected <folder> <saved model>…`. TensorFlow, and no server.

Reads folder/rows.npz, writes folder/logits.npz: one array [n] for each model.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf


def main(folder: Path, models: list[str]) -> None:
    with np.load(folder / "rows.npz", allow_pickle=False) as rows:
        inputs = {name: tf.constant(rows[name]) for name in rows.files}
    scores = [tf.saved_model.load(model).signatures["serving_default"](**inputs)["logit"] for model in models]
    np.savez(folder / "logits.npz", *[score.numpy()[:, 0] for score in scores])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
