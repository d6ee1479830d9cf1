"""Steady load in a process of its own: `python -m tests.faults.load <settings.json>`, until its standard input closes.

Open loop: requests leave at their times, whatever the answers do, and a latency counts from the time at which its
request should have left. Nothing is retried and no version is pinned. Every answer is kept with the version that it
names, so that the trial can compare it with what that version must say.
"""

from __future__ import annotations

import json
import select
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype

CHANNEL = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
TIMEOUT_S = 30.0
OUTPUT = "logit"
ROWS, RANK_ROWS = 40, 4  # requests that are sent in turn, of each model


class Load:
    """requests: prepared, sent in turn. rate: requests a second."""

    def __init__(self, url: str, requests: list[Any], rate: float) -> None:
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(url, CHANNEL))
        self._requests, self._interval = requests, 1.0 / rate
        self.answers: list[tuple[float, float, int, int, float, str]] = []
        self._sent = 0

    def run(self) -> None:
        """Sends until standard input closes, then waits for the answers on their way."""
        begin = time.time()
        while not select.select([sys.stdin], [], [], 0)[0]:
            due = begin + self._sent * self._interval
            wait = due - time.time()
            if wait > 0:
                time.sleep(wait)
            self._send(due)
        deadline = time.time() + TIMEOUT_S
        while len(self.answers) < self._sent and time.time() < deadline:
            time.sleep(0.01)

    def _send(self, due: float) -> None:
        index = self._sent % len(self._requests)
        self._sent += 1
        call = self._stub.ModelInfer.future(self._requests[index], timeout=TIMEOUT_S)
        call.add_done_callback(lambda done: self.answers.append(_answer(done, due, index)))


def _answer(done: Any, due: float, index: int) -> tuple[float, float, int, int, float, str]:
    """(due, seconds, index of the request, version, score, error)."""
    seconds = time.time() - due
    error = done.exception()
    if error is not None:
        return due, seconds, index, 0, np.nan, f"{error.code().name}: {error.details()}"
    response = done.result()
    score = np.frombuffer(response.raw_output_contents[0], np.float32)[0]
    return due, seconds, index, int(response.model_version), float(score), ""


def prepared(model: str, rows: dict[str, np.ndarray]) -> list[Any]:
    """One request a row. rows: {input name: [n, …]}, in the served dtypes."""
    count = len(next(iter(rows.values())))
    return [_request(model, {name: values[i : i + 1] for name, values in rows.items()}) for i in range(count)]


def _request(model: str, inputs: dict[str, np.ndarray]) -> Any:
    request = service_pb2.ModelInferRequest(model_name=model)
    for name, value in inputs.items():
        tensor = request.inputs.add(name=name, datatype=np_to_triton_dtype(value.dtype), shape=value.shape)
        del tensor
        request.raw_input_contents.append(value.tobytes())
    request.outputs.add(name=OUTPUT)
    return request


def main(settings_file: Path) -> None:
    settings = json.loads(settings_file.read_text())
    requests: list[Any] = []
    for model, file in settings["models"]:
        with np.load(file, allow_pickle=False) as rows:
            requests += prepared(model, dict(rows))
    order = np.random.default_rng(0).permutation(len(requests))
    load = Load(settings["url"], [requests[i] for i in order], settings["rate"])
    load.run()
    due, seconds, index, version, score, error = zip(*load.answers, strict=True)
    np.savez(
        settings["answers"], due=due, seconds=seconds, request=order[list(index)], version=version, score=score,
        error=np.array(error, dtype=np.str_), sent=load._sent,
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
