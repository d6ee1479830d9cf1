"""How many FLOP/s a large matrix product reaches on one CPU: `python -m tests.benchmarks.product_peak CPU`."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.benchmarks.child import BenchmarkError


def peak_of_cpu(cpu: int) -> float:
    """FLOP/s in float32, measured now in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.product_peak", str(cpu)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BenchmarkError(f"{' '.join(command)}\n{result.stderr.strip()}")
    return float(result.stdout)


def main(cpu: int) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.sched_setaffinity(0, {cpu})  # before TensorFlow counts them
    import tensorflow as tf

    from training.flops import matrix_product_peak

    print(matrix_product_peak(tf.float32))


if __name__ == "__main__":
    main(int(sys.argv[1]))
