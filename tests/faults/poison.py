"""Makes a weight of a checkpoint NaN: `python -m tests.faults.poison <checkpoint>`. In its own process: TensorFlow."""

from __future__ import annotations

import sys
from pathlib import Path

import tensorflow as tf

from training.checkpoint import open_checkpoint


def main(folder: Path) -> None:
    model = open_checkpoint(folder).restore_model()
    weights = model.variables[0]
    weights.assign(tf.fill(weights.shape, float("nan")))
    tf.train.Checkpoint(model=model).write(str(folder / "variables"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
