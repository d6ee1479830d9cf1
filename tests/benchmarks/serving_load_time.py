"""How long a model takes to load, behind each backend."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Mapping

from serving.embedded import TritonServer
from tests.benchmarks import serving_repository as repo
from tests.benchmarks.serving_server import wait_until

LOAD_TIMEOUT_S = 60.0


def load_seconds(server: TritonServer, models: Mapping[str, str], rounds: int) -> dict[str, float]:
    """From the load call to its return, which is when the version serves; medians. models: names by kind."""
    import tritonclient.grpc as triton

    seconds = defaultdict(list)
    with triton.InferenceServerClient(server.endpoints.grpc) as client:
        for number_of_round in range(rounds):
            for kind, model in models.items():
                if number_of_round:
                    client.unload_model(model)
                    wait_until(lambda model=model: not client.is_model_ready(model))
                start = time.perf_counter()
                client.load_model(model, client_timeout=LOAD_TIMEOUT_S)
                seconds[kind].append(time.perf_counter() - start)
        for model in (repo.RANK, repo.RANK_PLAIN, repo.RANK_BFLOAT16):
            client.load_model(model)
    return {kind: statistics.median(values) for kind, values in seconds.items()}
