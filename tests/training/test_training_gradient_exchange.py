"""Means of gradients over real Horovod processes, against those of the gradients as dense arrays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
HOROVODRUN = Path(sys.executable).with_name("horovodrun")
SMALL_TABLE, LARGE_TABLE = (70, 3), (70_000, 4)
# rows of the large table per rank: none at all, one rank without, few, and so many that the dense way is less
ROWS = {"none": (0, 0), "one_rank": (0, 9), "few": (500, 300), "all": (70_000, 70_000)}


def rank_gradients(case: str, rank: int) -> dict[str, np.ndarray]:
    """Ids without repetition, in no order; the first row has gradient zero and is still a row."""
    rng = np.random.default_rng(7 + rank)
    arrays: dict[str, np.ndarray] = {"dense": rng.normal(size=(5, 2)), "scalar": rng.normal(size=())}
    for name, shape, rows in (
        ("small", SMALL_TABLE, min(ROWS[case][rank], 9)),
        ("large", LARGE_TABLE, ROWS[case][rank]),
    ):
        arrays[f"{name}_ids"] = rng.choice(shape[0], rows, replace=False).astype(np.int32)
        arrays[f"{name}_values"] = rng.normal(size=(rows, shape[1]))
        arrays[f"{name}_values"][:1] = 0
    return {n: a if n.endswith("ids") else a.astype(np.float32) for n, a in arrays.items()}


def as_dense(ids: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    dense = np.zeros(shape, np.float32)
    np.add.at(dense, ids, values)
    return dense


def exchange_on_this_rank(folder: Path) -> None:
    """What each process of the test runs: eagerly, then inside of a tf.function, and both results into a file."""
    import tensorflow as tf

    from training.distributed import start_workers

    workers = start_workers()

    def exchanged(arrays: dict[str, tf.Tensor]) -> list[tf.Tensor | tf.IndexedSlices]:
        tables = [
            tf.IndexedSlices(arrays[f"{name}_values"], arrays[f"{name}_ids"], tf.constant(shape))
            for name, shape in (("large", LARGE_TABLE), ("small", SMALL_TABLE))
        ]
        return workers.mean_gradients([tables[0], arrays["dense"], tables[1], arrays["scalar"]])

    results = {}
    for case in ROWS:
        arrays = {name: tf.constant(array) for name, array in rank_gradients(case, workers.rank).items()}
        for kind, function in (("eager", exchanged), ("graph", tf.function(exchanged))):
            large, dense, small, scalar = function(arrays)
            results |= {f"{case}_{kind}_dense": dense.numpy(), f"{case}_{kind}_scalar": scalar.numpy()}
            for name, table in (("large", large), ("small", small)):
                results[f"{case}_{kind}_{name}_ids"] = table.indices.numpy()
                results[f"{case}_{kind}_{name}_values"] = table.values.numpy()
    np.savez(folder / f"{workers.rank}.npz", **results)


@pytest.fixture(scope="module")
def exchanged(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, np.ndarray]]:
    """The results of each rank."""
    folder = tmp_path_factory.mktemp("exchange")
    command = [str(HOROVODRUN), "-np", "2", "--gloo", sys.executable, __file__, str(folder)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [dict(np.load(folder / f"{rank}.npz", allow_pickle=False)) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["eager", "graph"])
@pytest.mark.parametrize("case", ROWS)
def test_means_are_those_of_dense_gradients(exchanged: list[dict[str, np.ndarray]], case: str, kind: str) -> None:
    ranks = [rank_gradients(case, rank) for rank in range(2)]
    for result in exchanged:
        for name in ("dense", "scalar"):
            mean = (ranks[0][name] + ranks[1][name]) / 2
            np.testing.assert_allclose(result[f"{case}_{kind}_{name}"], mean, rtol=1e-6)
        for name, shape in (("small", SMALL_TABLE), ("large", LARGE_TABLE)):
            ids, values = (result[f"{case}_{kind}_{name}_{part}"] for part in ("ids", "values"))
            mean = sum(as_dense(r[f"{name}_ids"], r[f"{name}_values"], shape) for r in ranks) / 2
            np.testing.assert_allclose(as_dense(ids, values, shape), mean, rtol=1e-5, atol=1e-7)
            assert ids.dtype == np.int32
            assert sorted(ids) == sorted(set(ranks[0][f"{name}_ids"]) | set(ranks[1][f"{name}_ids"])), "rows, each once"


@pytest.mark.slow
def test_all_ranks_have_the_same_rows_in_the_same_order(exchanged: list[dict[str, np.ndarray]]) -> None:
    """So that weights stay bit-identical on all ranks."""
    assert exchanged[0].keys() == exchanged[1].keys()
    for name, array in exchanged[0].items():
        np.testing.assert_array_equal(array, exchanged[1][name])


if __name__ == "__main__":
    exchange_on_this_rank(Path(sys.argv[1]))
