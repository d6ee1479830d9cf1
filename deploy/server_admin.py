"""Triton's model repository API over gRPC: load, unload, what is loaded. It needs explicit model control."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from client.tls import TlsFiles
from client.transport import CHANNEL_ARGUMENTS, RESTRICTED, TLS_CHANNEL_ARGUMENTS
from deploy.connection import Connection
from deploy.errors import LoadRefused, ServerDown, ServerRefused, SettingError

DOWN = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")
NOT_EXPLICIT = "explicit model load / unload is not allowed"


@dataclass(frozen=True)
class VersionState:
    """state: READY, LOADING, UNLOADING, UNAVAILABLE. reason: Triton's, empty where there is none."""

    state: str
    reason: str


class ServerAdmin:
    """One server. Every call raises ServerDown if nobody answers in time; a question, ServerRefused for other errors.

    timeout_s: for questions. load_timeout_s: for loading a model, its warm-up included.
    """

    def __init__(self, connection: Connection, timeout_s: float = 10.0, load_timeout_s: float = 600.0) -> None:
        import tritonclient.grpc as triton

        self._url, self._headers = connection.url, dict(connection.headers)
        self._timeout_s, self._load_timeout_s = timeout_s, load_timeout_s
        files = connection.tls or TlsFiles()
        self._client = triton.InferenceServerClient(
            connection.url, ssl=connection.tls is not None, root_certificates=files.root_certificates,
            private_key=files.private_key, certificate_chain=files.certificate_chain,
            channel_args=TLS_CHANNEL_ARGUMENTS if connection.tls else CHANNEL_ARGUMENTS,
        )  # fmt: skip

    def is_up(self) -> bool:
        """Whether it answers."""
        try:
            with self._errors_mapped():
                return bool(self._client.is_server_live(headers=self._headers, client_timeout=self._timeout_s))
        except ServerDown:
            return False

    def is_ready(self) -> bool:
        """Whether every model that was asked for is loaded, which is what probes ask for."""
        with self._errors_mapped():
            return bool(self._client.is_server_ready(headers=self._headers, client_timeout=self._timeout_s))

    def load(self, model: str) -> None:
        """Loads what the model's config.pbtxt says, then unloads the rest; the old version serves until then.

        Raises LoadRefused with Triton's message; then the old version goes on serving.
        """
        with self._errors_mapped(f"model {model}: Triton does not load it: "):
            self._client.load_model(model, headers=self._headers, client_timeout=self._load_timeout_s)

    def unload(self, model: str) -> None:
        """Does nothing to a model that is not loaded."""
        with self._errors_mapped(f"model {model}: Triton does not unload it: "):
            self._client.unload_model(model, headers=self._headers, client_timeout=self._timeout_s)

    def forget(self, model: str) -> None:
        """Unloads it if the server knows it; leaves a server alone that is down or refuses."""
        with contextlib.suppress(ServerDown, ServerRefused, LoadRefused):
            if self.states(model):
                self.unload(model)

    def states(self, model: str) -> dict[int, VersionState]:
        """{version: its state} of the versions that Triton has heard of."""
        with self._errors_mapped():
            index = self._client.get_model_repository_index(headers=self._headers, client_timeout=self._timeout_s)
        return {int(m.version): VersionState(m.state, m.reason) for m in index.models if m.name == model and m.version}

    def ready_versions(self, model: str) -> list[int]:
        """Those that answer requests, oldest first."""
        return sorted(version for version, found in self.states(model).items() if found.state == "READY")

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @contextlib.contextmanager
    def _errors_mapped(self, refusal: str = "") -> Iterator[None]:
        from tritonclient.utils import InferenceServerException

        try:
            yield
        except InferenceServerException as error:
            raise self._mapped(error, refusal) from error

    def _mapped(self, error: Any, refusal: str) -> Exception:
        status = str(error.status() or "").removeprefix("StatusCode.")
        message = str(error.message()).strip()
        if NOT_EXPLICIT in message:
            return SettingError(
                f"server {self._url}: it does not load models on request; start it with "
                "`recserve serve --model_control_mode explicit` (--model-control-mode=explicit of tritonserver)."
            )
        if RESTRICTED in message:
            return SettingError(
                f"server {self._url}: it wants a secret for administrative calls; give its file with "
                "--admin_secret_file, as the server's own."
            )
        said = f"server {self._url}: {status or 'no status'}: {message}."
        if status in DOWN:
            return ServerDown(f"{said} Is it up?")
        if not refusal:
            return ServerRefused(f"{said} Is this Triton's gRPC port?")
        return LoadRefused(f"{refusal}{status}: {message}")
