"""`recserve export --xla --buckets` -> real Triton -> clients with all batch sizes at once: nothing compiles."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from client import GrpcTransport, Scorer
from export.parity import parity_inputs
from serving.embedded import TritonServer
from tests.export.command import export
from tests.export.conftest import make_checkpoint, sim_spec
from training.checkpoint import open_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.server]
BUCKETS, CLIENTS, CALLS = (1, 16, 64), 4, 60


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), sim_spec())


@pytest.fixture(scope="module")
def server(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """Its log tells every compilation of XLA."""
    folder = tmp_path_factory.mktemp("xla")
    options = ("--xla", "--buckets", ",".join(map(str, BUCKETS)), "--max_batch_size", str(BUCKETS[-1]))
    export(checkpoint, folder / "models", "--model_name", "sim", "--parity_rows", "64", *options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
        patch.setenv("TF_CPP_VMODULE", "device_compilation_profiler=1")
        with TritonServer(folder / "models", log_file=folder / "log") as server:
            yield server


def compilations(server: TritonServer) -> int:
    return len(re.findall(r"device_compilation_profiler.*[Cc]ompiled ", server.log_file.read_text()))


def test_mixed_batches_of_many_clients_wait_for_no_compilation(server: TritonServer, checkpoint: Path) -> None:
    warmed = compilations(server)
    assert warmed >= len(BUCKETS), "the warm-up compiled less than one program per bucket"
    model = open_checkpoint(checkpoint).restore_model()
    rows = parity_inputs(model.served, BUCKETS[-1])
    known = {f.name: np.where(rows[f.name] <= (f.cardinality or 0), rows[f.name], 0) for f in model.served}
    features = {
        f.name: tf.constant(known[f.name] if f.is_sequence else known[f.name][:, 0], tf.int32) for f in model.served
    }
    wanted = tf.sigmoid(model.call(features, training=False)).numpy()

    def client(number: int) -> int:
        chance, sent = np.random.default_rng(number), 0
        with Scorer(GrpcTransport(server.endpoints.grpc), "sim") as scorer:
            for _ in range(CALLS):
                chosen = chance.permutation(BUCKETS[-1])[: chance.integers(1, BUCKETS[-1], endpoint=True)]
                columns = {
                    f.name: rows[f.name][chosen] if f.is_sequence else rows[f.name][chosen, 0] for f in model.served
                }
                np.testing.assert_allclose(scorer.score(columns).reshape(-1), wanted[chosen], atol=1e-5)
                sent += 1
        return sent

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert sum(pool.map(client, range(CLIENTS))) == CLIENTS * CALLS
    assert compilations(server) == warmed
