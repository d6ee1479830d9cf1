"""One Triton with our backend for most serving tests; the models come from saved_models.py beside this file."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from serving.backend_build import build_backend
from serving.embedded import TritonServer
from serving.tool_folder import ToolFolder, default_tool_folder
from serving.tools import fetch_tools

ANSWER_TIMEOUT_S = 30.0


@pytest.fixture(scope="session")
def tools() -> ToolFolder:
    """The real binaries, fetched and built if they are missing."""
    tools = default_tool_folder()
    fetch_tools(tools)
    build_backend(tools)
    return tools


def _load_module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"serving_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def saved_models() -> ModuleType:
    """The module saved_models.py; imports TensorFlow, so only tests that need it pay."""
    return _load_module("saved_models")


@pytest.fixture(scope="session")
def special_models(saved_models: ModuleType) -> ModuleType:
    """The module special_models.py, which builds on saved_models.py."""
    return _load_module("special_models")


@pytest.fixture(scope="session")
def repository(saved_models: ModuleType, special_models: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with every model of saved_models.py and special_models.py."""
    folder = tmp_path_factory.mktemp("serving") / "models"
    saved_models.build_all(folder)
    special_models.build_all(folder)
    return folder


@pytest.fixture
def small_repository(repository: Path, saved_models: ModuleType, tmp_path: Path) -> Path:
    """A repository of the test's own with one model, `echo`: y = x reversed, FP32, three columns."""
    folder = tmp_path / "small"
    version = folder / "echo" / "1"
    version.mkdir(parents=True)
    (version / "model.savedmodel").symlink_to(repository / "echo_fp32" / "1" / "model.savedmodel")
    text = saved_models.config_text([("x", "FP32", [3])], [("y", "FP32", [3])])
    (folder / "echo" / "config.pbtxt").write_text(text)
    return folder


@pytest.fixture(scope="session")
def server(repository: Path, tools: ToolFolder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """One running server, explicit mode; tests load what they need with `load`."""
    log = tmp_path_factory.mktemp("triton") / "triton.log"
    with TritonServer(repository, tools=tools, model_control_mode="explicit", log_file=log) as server:
        yield server


@pytest.fixture(scope="session")
def client(server: TritonServer) -> Iterator[Any]:
    """A gRPC client of the shared server."""
    import tritonclient.grpc as triton

    with triton.InferenceServerClient(server.endpoints.grpc) as client:
        yield client


@pytest.fixture(scope="session")
def load(client: Any) -> Callable[[str], None]:
    """Loads a model of the repository into the shared server, once."""

    def load_once(model: str) -> None:
        if not client.is_model_ready(model):
            client.load_model(model)

    return load_once


def _make_input(name: str, value: np.ndarray, datatype: str | None = None) -> Any:
    import tritonclient.grpc as triton
    from tritonclient.utils import np_to_triton_dtype

    tensor = triton.InferInput(name, list(value.shape), datatype or np_to_triton_dtype(value.dtype))
    tensor.set_data_from_numpy(value)
    return tensor


@pytest.fixture(scope="session")
def make_input() -> Callable[..., Any]:
    """make_input(name, array, datatype=None) -> InferInput. BF16 takes a float32 array, numpy has no such type."""
    return _make_input


@pytest.fixture(scope="session")
def infer(client: Any, load: Callable[[str], None]) -> Callable[..., dict[str, np.ndarray]]:
    """infer(model, {name: array}, outputs=None, **options) -> {output: array}"""
    import tritonclient.grpc as triton

    def call(
        model: str, arrays: dict[str, np.ndarray], outputs: list[str] | None = None, **options: Any
    ) -> dict[str, np.ndarray]:
        load(model)
        wanted = None if outputs is None else [triton.InferRequestedOutput(name) for name in outputs]
        inputs = [_make_input(name, value) for name, value in arrays.items()]
        result = client.infer(model, inputs, outputs=wanted, **options)
        return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}

    return call


@pytest.fixture
def together(client: Any, load: Callable[[str], None]) -> Callable[..., list[Any]]:
    """together(model, [{name: array}, …], outputs=None) -> per request its result or its exception, sent at once."""
    import tritonclient.grpc as triton

    def call(model: str, requests: list[dict[str, np.ndarray]], outputs: list[list[str]] | None = None) -> list[Any]:
        load(model)
        answers: list[Any] = [None] * len(requests)
        done = threading.Semaphore(0)

        def keep(index: int, result: Any, error: Any) -> None:
            answers[index] = error or result
            done.release()

        for index, arrays in enumerate(requests):
            wanted = [triton.InferRequestedOutput(name) for name in outputs[index]] if outputs else None
            inputs = [_make_input(name, value) for name, value in arrays.items()]
            client.async_infer(
                model, inputs, lambda result, error, index=index: keep(index, result, error), outputs=wanted
            )
        for _ in requests:
            assert done.acquire(timeout=ANSWER_TIMEOUT_S), "a request was never answered"
        return answers

    return call
