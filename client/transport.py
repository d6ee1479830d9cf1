"""The narrow protocol between a Scorer and a server, and gRPC behind it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from client.errors import (
    DeadlineExceeded,
    InvalidInput,
    ModelNotFound,
    ScoringError,
    ServerError,
    ServerUnavailable,
)
from client.tls import TlsFiles

DEFAULT_URL = "127.0.0.1:8001"
HOST_AND_PORT = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(\d{1,5})")  # an IPv6 host stands in brackets
# A lost server is looked for again after 0.1 s, not gRPC's 1 s: the retries decide how often to ask.
CHANNEL_ARGUMENTS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
]
# gRPC also takes the shortest wait as the time for connecting, and a TLS handshake on a busy machine needs longer.
TLS_CHANNEL_ARGUMENTS = [*CHANNEL_ARGUMENTS, ("grpc.min_reconnect_backoff_ms", 5000)]
ERRORS: Mapping[str, type[ScoringError]] = {
    "INVALID_ARGUMENT": InvalidInput,
    "NOT_FOUND": ModelNotFound,
    "UNAVAILABLE": ServerUnavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
}
RESTRICTED, NEEDED = "protocol is restricted", " Clients need the protocols metadata, model-config and inference."
# What gRPC says when the two ends do not agree on TLS; a server that refuses us only closes the connection.
NO_TLS = ("Tls handshake failed", "erification", "Socket closed", "Connection reset", "Broken pipe")
IS_UP = " Is the server up, and the model loaded? `recserve serve` starts one."
ASKS_FOR_TLS = " Is the server up? Does it ask for TLS (--tls)?"
TLS_FILES = (
    " Does the server speak TLS, is its certificate for this host and signed by --tls_ca, and is ours (--tls_cert) "
    "signed by the authority that it trusts?"
)


@dataclass(frozen=True)
class TensorDescription:
    """dtype: of numpy. shape: of one row, without the batch axis; -1 is an open dimension."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelDescription:
    """What the server says of a model. max_batch_size: rows of one request; None is no limit.

    parameters: those of its configuration.
    """

    model: str
    version: str
    inputs: Mapping[str, TensorDescription]
    outputs: Mapping[str, TensorDescription]
    max_batch_size: int | None
    parameters: Mapping[str, str] = field(default_factory=dict)


class Transport(Protocol):
    """What a Scorer needs of a server. Calls come from several threads at once; they raise only ScoringErrors."""

    def describe(self, model: str, version: str, timeout_s: float) -> ModelDescription:
        """version "" is the newest one."""

    def infer(
        self, model: str, version: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], timeout_s: float
    ) -> dict[str, np.ndarray]:
        """inputs {name: [B, …]} in the described dtypes -> {output name: [B, …]}."""

    def close(self) -> None: ...


class GrpcTransport:
    """Triton over gRPC. url: host:port. tls: encrypted, by these files; None is plain text.

    Raises InvalidInput for another form of url.
    """

    def __init__(self, url: str = DEFAULT_URL, tls: TlsFiles | None = None) -> None:
        import tritonclient.grpc as triton

        match = HOST_AND_PORT.fullmatch(url)
        if match is None or not 0 < int(match[1]) < 65536:
            raise InvalidInput(
                f"url: got {url!r}; expected host:port of the server's gRPC endpoint, without http://, such as "
                f"{DEFAULT_URL}"
            )
        self.url = url
        self._triton = triton
        self._tls = tls
        files = tls or TlsFiles()
        self._client = triton.InferenceServerClient(
            url, ssl=tls is not None, root_certificates=files.root_certificates, private_key=files.private_key,
            certificate_chain=files.certificate_chain,
            channel_args=TLS_CHANNEL_ARGUMENTS if tls else CHANNEL_ARGUMENTS,
        )  # fmt: skip

    def describe(self, model: str, version: str, timeout_s: float) -> ModelDescription:
        try:
            metadata = self._client.get_model_metadata(model, version, client_timeout=timeout_s)
            config = self._client.get_model_config(model, version, client_timeout=timeout_s).config
        except self._triton.InferenceServerException as error:
            raise self._mapped(error) from error
        return ModelDescription(
            model=model,
            version=version or str(max((int(v) for v in metadata.versions), default="")),
            inputs={t.name: _tensor(model, t) for t in metadata.inputs},
            outputs={t.name: _tensor(model, t) for t in metadata.outputs},
            max_batch_size=config.max_batch_size or None,
            parameters={name: value.string_value for name, value in config.parameters.items()},
        )

    def infer(
        self, model: str, version: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], timeout_s: float
    ) -> dict[str, np.ndarray]:
        wanted = [self._triton.InferRequestedOutput(name) for name in outputs]
        try:
            result = self._client.infer(
                model, [self._input(name, value) for name, value in inputs.items()], version, wanted,
                client_timeout=timeout_s,
            )  # fmt: skip
        except self._triton.InferenceServerException as error:
            raise self._mapped(error) from error
        return {name: np.array(result.as_numpy(name)) for name in outputs}

    def close(self) -> None:
        """A second time does nothing."""
        self._client.close()
        # tritonclient closes again in __del__. Under gevent, gRPC counts its channels down at each close; with a wrong
        # count its worker thread outlives the last channel, and a process that ends may hang on that thread's lock.
        self._client.close = _nothing

    def _input(self, name: str, value: np.ndarray) -> Any:
        from tritonclient.utils import np_to_triton_dtype

        tensor = self._triton.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype))
        tensor.set_data_from_numpy(value)
        return tensor

    def _mapped(self, error: Any) -> ScoringError:
        status = str(error.status() or "").removeprefix("StatusCode.")
        message = str(error.message())
        kind = ERRORS.get(status, ServerError)
        hint = ""
        if RESTRICTED in message:  # with the status UNAVAILABLE, but it will not pass
            kind, hint = ServerError, NEEDED
        elif kind is ServerUnavailable:
            hint = self._hint(message)
        return kind(f"server {self.url}: {status or 'no status'}: {message}.{hint}")

    def _hint(self, message: str) -> str:
        if any(mark in message for mark in NO_TLS):
            return TLS_FILES if self._tls else ASKS_FOR_TLS
        return IS_UP


def _nothing() -> None: ...


def _tensor(model: str, metadata: Any) -> TensorDescription:
    from tritonclient.utils import triton_to_np_dtype

    batch, *row = metadata.shape
    if batch != -1:
        raise ServerError(
            f"model {model}: tensor {metadata.name} has the shape {list(metadata.shape)}; expected an open batch "
            "axis in front. Export the model with max_batch_size of at least 1."
        )
    return TensorDescription(metadata.name, np.dtype(triton_to_np_dtype(metadata.datatype)), tuple(row))
