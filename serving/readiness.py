"""Proves that a server answers: a real scoring call to every model that it has loaded.

"Ready" alone is not proof: Triton says it of a model whose backend fails on every request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.errors import ServerError


@dataclass(frozen=True)
class ReadyModel:
    """A model version that is loaded; from `score_every_model`, one that has scored."""

    name: str
    version: str


def score_every_model(client: Any, timeout_s: float, headers: Mapping[str, str] | None = None) -> list[ReadyModel]:
    """Scores one row of zeros (id 0 is the padding row) on each loaded model version that is not unloaded meanwhile.

    Args:
        client: a tritonclient.grpc.InferenceServerClient.
        timeout_s: for each call; the first one of an XLA model compiles.
        headers: for the list of models, which may be restricted.

    Raises:
        ServerError: a model that is loaded but does not score.
    """
    ready = []
    for model in _loaded(client, timeout_s, headers):
        try:
            _score_zeros(client, model.name, model.version, timeout_s)
        except ServerError:
            if model in _loaded(client, timeout_s, headers):
                raise
        else:
            ready.append(model)
    return sorted(ready, key=lambda model: (model.name, int(model.version)))


def _loaded(client: Any, timeout_s: float, headers: Mapping[str, str] | None) -> list[ReadyModel]:
    index = client.get_model_repository_index(headers=headers, client_timeout=timeout_s)
    return [ReadyModel(entry.name, entry.version) for entry in index.models if entry.state == "READY"]


def _score_zeros(client: Any, model: str, version: str, timeout_s: float) -> None:
    from tritonclient.utils import InferenceServerException

    try:
        metadata = client.get_model_metadata(model, version, client_timeout=timeout_s)
        inputs = [_zeros(tensor) for tensor in metadata.inputs]
        client.infer(model, inputs, model_version=version, client_timeout=timeout_s)
    except InferenceServerException as error:
        raise ServerError(
            f"model '{model}' version {version} is loaded, but scoring one row of zeros failed: {error}"
        ) from error


def _zeros(tensor: Any) -> Any:
    """One row of zeros for an input of the model's metadata; open dimensions, the batch among them, become 1."""
    import tritonclient.grpc as triton
    from tritonclient.utils import triton_to_np_dtype

    shape = [1 if size < 0 else size for size in tensor.shape]
    value = triton.InferInput(tensor.name, shape, tensor.datatype)
    dtype = triton_to_np_dtype(tensor.datatype)
    value.set_data_from_numpy(np.full(shape, b"", dtype=object) if dtype == np.object_ else np.zeros(shape, dtype))
    return value
