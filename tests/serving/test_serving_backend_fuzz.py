"""Random requests against a live server: right and wrong shapes, types, sizes, strings.

`RECSERVE_FUZZ_REQUESTS=100000 pytest tests/serving/test_serving_backend_fuzz.py` for a long run.

Deadlines are generous and nothing is cancelled: the gRPC frontend of Triton up to 2.52 crashes if a request ends just
as its cancellation arrives, which is not the backend's doing. (With deadlines of a microsecond for 2 % of the requests
it did, in a run of 100,000.) Cancelled requests are tested apart, in test_serving_backend_buffers.py and in the
sanitizers' program. Should the server die, the message says whose crash it was.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.embedded import TritonServer
from serving.tool_folder import ToolFolder
from tests.serving.crashes import whose_crash

pytestmark = [pytest.mark.server, pytest.mark.slow]

REQUESTS = int(os.environ.get("RECSERVE_FUZZ_REQUESTS", "3000"))
THREADS = 4
GENEROUS_S = 60.0
GROWTH_MB = 30.0  # that the second half may add; a leak of 1 kB per request would be 50 MB in the long run
MODELS = ["open_width", "echo_string", "echo_int64", "padded", "picky", "optional", "ragged", "unbatched"]
TYPES = [np.float32, np.int64, np.int32, np.bool_, np.object_]


@pytest.fixture(scope="module")
def fuzzed(
    repository: Path, tools: ToolFolder, saved_models: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("fuzz")
    models = folder / "models"
    models.mkdir()
    for name in MODELS:
        if name != "padded":
            (models / name).symlink_to(repository / name)
    (models / "padded" / "1").mkdir(parents=True)
    (models / "padded" / "1" / "model.savedmodel").symlink_to(repository / "echo_fp32" / "1" / "model.savedmodel")
    text = saved_models.config_text(
        [("x", "FP32", [3])], [("y", "FP32", [3])], parameters={"BATCH_BUCKETS": "4,16"}, instances=2,
        extra="dynamic_batching {}",
    )  # fmt: skip
    (models / "padded" / "config.pbtxt").write_text(text)
    with TritonServer(models, tools=tools, log_file=folder / "log") as server:
        yield server


def rss_mb(server: TritonServer) -> float:
    text = Path(f"/proc/{server.pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmRSS:"))


def right(chance: random.Random, model: str) -> dict[str, np.ndarray]:
    """Inputs that the model accepts."""
    rows = chance.choice([1, 1, 2, 3, 7, 16, 64])
    numbers = np.random.default_rng(chance.randrange(2**32))

    def floats(*shape: int) -> np.ndarray:
        return numbers.random(shape, np.float32)

    def texts() -> np.ndarray:
        return np.array([[numbers.bytes(chance.randrange(50)) for _ in range(3)] for _ in range(rows)], np.object_)

    inputs = {
        "open_width": {"x": floats(rows, chance.randrange(8))},
        "echo_string": {"x": texts()},
        "echo_int64": {"x": numbers.integers(-(2**60), 2**60, [rows, 3])},
        "padded": {"x": floats(rows, 3)},
        "picky": {"ids": numbers.integers(0, 12, [rows, 1])},  # 10 and 11 make the graph fail
        "optional": {"x": floats(rows, 3), "w": floats(rows, 3)},
        "ragged": {"x": floats(1, 1 + chance.randrange(9))},
        "unbatched": {"x": floats(2, 3), "y": floats(3, 1 + chance.randrange(4))},
    }[model]
    if model == "optional" and chance.random() < 0.5:
        del inputs["w"]
    return inputs


def expected(model: str, inputs: dict[str, np.ndarray]) -> tuple[str, np.ndarray] | None:
    """An output and its value; None if the graph fails on these inputs."""
    if model == "picky":
        return ("value", inputs["ids"] * 10.0) if inputs["ids"].max() < 10 else None
    if model == "unbatched":
        return "product", inputs["x"] @ inputs["y"]
    x = inputs["x"]
    if model == "open_width":
        return "same", x
    if model == "optional":
        return "y", x * inputs.get("w", np.array([1, 2, 3], np.float32))
    if model == "ragged":
        return "twice", 2 * x
    return "y", x[:, ::-1]


def spoil(chance: random.Random, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same with one mistake: a type, shape, size or name that no model here accepts."""
    name = chance.choice(sorted(inputs))
    value = inputs[name]
    kind = chance.randrange(4)
    if kind == 0:
        dtype = chance.choice([dtype for dtype in TYPES if dtype != value.dtype])
        filler = b"1" if dtype == np.object_ else 1
        return {**inputs, name: np.full(value.shape, filler, dtype)}
    if kind == 1:
        return {**inputs, name: value[..., None, None]}
    if kind == 2:
        return {**inputs, name: np.repeat(value, 100, axis=0)[:65]}  # more rows than any of the models takes
    return {**{key: item for key, item in inputs.items() if key != name}, "surprise": value}


class Sender:
    """Sends requests one after the other and judges every answer."""

    def __init__(self, url: str, seed: int, make_input: Any) -> None:
        self._url, self._chance, self._make_input = url, random.Random(seed), make_input
        self.ends: Counter[str] = Counter()
        self.mistakes: list[str] = []

    def run(self, requests: int) -> None:
        import tritonclient.grpc as triton

        with triton.InferenceServerClient(self._url) as client:
            for _ in range(requests):
                try:
                    self.ends[self._send(client)] += 1
                except Exception as error:
                    self.mistakes.append(repr(error))

    def _send(self, client: Any) -> str:
        from tritonclient.utils import InferenceServerException

        model = self._chance.choice(MODELS)
        inputs = right(self._chance, model)
        value = expected(model, inputs)
        spoilt = self._chance.random() < 0.3
        if spoilt:
            inputs = spoil(self._chance, inputs)
        tensors = [self._make_input(name, item) for name, item in inputs.items()]
        try:
            result = client.infer(model, tensors, client_timeout=GENEROUS_S)
        except InferenceServerException as error:
            refused = (spoilt or value is None) and error.status() == "StatusCode.INVALID_ARGUMENT"
            assert refused, f"{model}: {error}"
            return str(error.status())
        assert not spoilt, f"{model} accepted { ({name: item.shape for name, item in inputs.items()}) }"
        assert value is not None
        output, wanted = value
        compare = np.testing.assert_array_equal if wanted.dtype == np.object_ else np.testing.assert_allclose
        compare(result.as_numpy(output), wanted)
        return "answered"


def test_random_requests_are_all_answered_and_memory_stays_flat(fuzzed: TritonServer, make_input: Any) -> None:
    memory = []
    ends: Counter[str] = Counter()
    for half in range(2):
        senders = [Sender(fuzzed.endpoints.grpc, 10 * half + number, make_input) for number in range(THREADS)]
        threads = [threading.Thread(target=sender.run, args=(REQUESTS // 2 // THREADS,)) for sender in senders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log = fuzzed.log_file.read_text(errors="replace")
        assert fuzzed.is_running(), f"a crash of the {whose_crash(log)}:\n{log[-5000:]}"
        for sender in senders:
            assert not sender.mistakes, sender.mistakes[:5]
            ends += sender.ends
        memory.append(rss_mb(fuzzed))
    print(f"{dict(ends)}; RSS after the halves: {memory[0]:.0f} and {memory[1]:.0f} MB")
    assert sum(ends.values()) == REQUESTS // 2 // THREADS * THREADS * 2, "a request was lost"
    assert ends["answered"] > REQUESTS / 3
    assert ends["StatusCode.INVALID_ARGUMENT"] > REQUESTS / 10
    assert memory[1] - memory[0] < GROWTH_MB
