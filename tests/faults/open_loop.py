"""Requests over gRPC at times that are drawn before, and closed-loop capacity. Requests are serialized once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import np_to_triton_dtype

INFER = "/inference.GRPCInferenceService/ModelInfer"
DEADLINE_S = 20.0  # generous: a request that is given up on the client's side would be missing in the server's load
IN_FLIGHT = 4
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


@dataclass(frozen=True)
class Answers:
    """One entry for each request. scheduled_s: when it was to leave, from the start. latency_ms: from then."""

    scheduled_s: np.ndarray
    sent_late_s: np.ndarray
    latency_ms: np.ndarray
    status: np.ndarray

    @property
    def accepted(self) -> np.ndarray:
        return self.status == "OK"

    @property
    def refused(self) -> np.ndarray:
        return self.status == "UNAVAILABLE"

    def between(self, start_s: float, end_s: float) -> Answers:
        """Those of the requests that were to leave then."""
        inside = (self.scheduled_s >= start_s) & (self.scheduled_s < end_s)
        return Answers(self.scheduled_s[inside], self.sent_late_s[inside], self.latency_ms[inside], self.status[inside])

    def percentile_ms(self, percent: float, of_refused: bool = False) -> float:
        """0 if there are none."""
        latencies = self.latency_ms[self.refused if of_refused else self.accepted]
        return float(np.percentile(latencies, percent)) if len(latencies) else 0.0


def request_bytes(model: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """A serialized ModelInferRequest for all outputs."""
    request = triton.service_pb2.ModelInferRequest(model_name=model)
    for name, value in inputs.items():
        request.inputs.add(name=name, datatype=np_to_triton_dtype(value.dtype), shape=value.shape)
        request.raw_input_contents.append(value.tobytes())
    return bytes(request.SerializeToString())


def closed_loop_rate(url: str, payloads: Sequence[bytes], seconds: float) -> float:
    """Answers per second with IN_FLIGHT requests always on their way: few enough for a short queue."""
    with grpc.insecure_channel(url, OPTIONS) as channel:
        call = channel.unary_unary(INFER)
        end = time.monotonic() + seconds
        counts = [0] * IN_FLIGHT

        def ask(number: int) -> None:
            while time.monotonic() < end:
                try:
                    call(payloads[(number + counts[number]) % len(payloads)], timeout=DEADLINE_S)
                except grpc.RpcError as error:
                    if error.code() != grpc.StatusCode.UNAVAILABLE:  # one too many for the queue
                        raise
                    continue
                counts[number] += 1

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(IN_FLIGHT)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / (time.monotonic() - started)


def open_loop(
    url: str,
    payloads: Sequence[bytes],
    rate: float,
    seconds: float,
    sample_s: float = 0.0,
    sample: Callable[[], None] | None = None,
    seed: int = 0,
) -> Answers:
    """Sends rate × seconds requests at Poisson times, and waits for every answer. sample: called every sample_s."""
    count = max(1, round(rate * seconds))
    scheduled = np.sort(np.random.default_rng(seed).uniform(0.0, seconds, count))  # a Poisson process, given its count
    sent, done = np.zeros(count), np.zeros(count)
    status = np.full(count, "", dtype=object)
    all_done = threading.Semaphore(0)

    def finish(number: int, future: Any) -> None:
        done[number] = time.monotonic()
        status[number] = future.code().name
        all_done.release()

    with grpc.insecure_channel(url, OPTIONS) as channel:
        grpc.channel_ready_future(channel).result(DEADLINE_S)
        call = channel.unary_unary(INFER)
        started, next_sample = time.monotonic(), 0.0
        for number, due in enumerate(scheduled):
            now = time.monotonic() - started
            if sample and now >= next_sample:
                sample()
                next_sample += sample_s
            if due > now:
                time.sleep(due - now)
            sent[number] = time.monotonic() - started
            future = call.future(payloads[number % len(payloads)], timeout=DEADLINE_S)
            future.add_done_callback(lambda future, number=number: finish(number, future))
        for _ in range(count):
            all_done.acquire()
    return Answers(scheduled, sent - scheduled, (done - started - scheduled) * 1e3, status)
