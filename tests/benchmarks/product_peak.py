"""How many FLOP/s a large matrix product reaches on one CPU: `python -m tests.benchmarks.product_peak CPU`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.benchmarks.child import run_child


def peak_of_cpu(cpu: int, log: Path) -> float:
    """FLOP/s in float32, measured now in a process of its own. log: its output."""
    run_child([sys.executable, "-m", "tests.benchmarks.product_peak", str(cpu)], log)
    return float(log.read_text(encoding="utf-8").splitlines()[-1])


def main(cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})  # before TensorFlow counts them
    import tensorflow as tf

    from training.flops import matrix_product_peak

    print(matrix_product_peak(tf.float32))


if __name__ == "__main__":
    main(int(sys.argv[1]))
