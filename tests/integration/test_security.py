"""A server with mutual TLS and an administrators' secret: every way in that docs/operations.md lists is tried."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import pytest

from client import GrpcTransport, ModelNotFound, RetryPolicy, Scorer, ServerError, ServerUnavailable, TlsFiles
from client.admin import ADMIN_HEADER, admin_header
from deploy.connection import Connection
from deploy.errors import ServerDown, SettingError
from deploy.server_admin import ServerAdmin
from serving.admin_secret import KEY, AdminSecret
from serving.embedded import TritonServer
from serving.tls import ServerTls

pytestmark = pytest.mark.server
ROOT = Path(__file__).parents[2]
SECRET = "0123456789-secret-abc"
WRONG = "0123456789-wrong-abcd"
ONCE = RetryPolicy(attempts=1)
REGION_BYTES = 64

# The rows of the table, in its order: what -> (call of tritonclient, the same over HTTP: method, path, body).
# {region} is a shared memory region that exists.
Grpc = Callable[[Any, dict[str, str], str], Any]
ADMIN_CALLS: dict[str, tuple[Grpc, tuple[str, str, dict[str, Any]]]] = {
    "repository index": (
        lambda c, h, r: c.get_model_repository_index(headers=h),
        ("POST", "/v2/repository/index", {}),
    ),
    "load a model": (
        lambda c, h, r: c.load_model("sim", headers=h),
        ("POST", "/v2/repository/models/sim/load", {}),
    ),
    "unload a model": (
        lambda c, h, r: c.unload_model("sim", headers=h),
        ("POST", "/v2/repository/models/sim/unload", {}),
    ),
    "register system shared memory": (
        lambda c, h, r: c.register_system_shared_memory("grpc", f"/{r}", REGION_BYTES, headers=h),
        (
            "POST",
            "/v2/systemsharedmemory/region/http/register",
            {"key": "/{region}", "offset": 0, "byte_size": REGION_BYTES},
        ),
    ),
    "status of system shared memory": (
        lambda c, h, r: c.get_system_shared_memory_status(headers=h),
        ("GET", "/v2/systemsharedmemory/status", {}),
    ),
    "unregister system shared memory": (
        lambda c, h, r: c.unregister_system_shared_memory("", headers=h),
        ("POST", "/v2/systemsharedmemory/unregister", {}),
    ),
    "register CUDA shared memory": (
        lambda c, h, r: c.register_cuda_shared_memory("grpc", b"x" * 64, 0, REGION_BYTES, headers=h),
        (
            "POST",
            "/v2/cudasharedmemory/region/http/register",
            {"raw_handle": {"b64": "eHh4"}, "device_id": 0, "byte_size": REGION_BYTES},
        ),
    ),
    "status of CUDA shared memory": (
        lambda c, h, r: c.get_cuda_shared_memory_status(headers=h),
        ("GET", "/v2/cudasharedmemory/status", {}),
    ),
    "unregister CUDA shared memory": (
        lambda c, h, r: c.unregister_cuda_shared_memory("", headers=h),
        ("POST", "/v2/cudasharedmemory/unregister", {}),
    ),
    "statistics": (
        lambda c, h, r: c.get_inference_statistics("sim", headers=h),
        ("GET", "/v2/models/sim/stats", {}),
    ),
    "statistics of all models": (
        lambda c, h, r: c.get_inference_statistics(headers=h),
        ("GET", "/v2/models/stats", {}),
    ),
    "read trace settings": (
        lambda c, h, r: c.get_trace_settings(headers=h),
        ("GET", "/v2/trace/setting", {}),
    ),
    "change trace settings": (
        lambda c, h, r: c.update_trace_settings(settings={"trace_rate": "900"}, headers=h),
        ("POST", "/v2/trace/setting", {"trace_rate": "900"}),
    ),
    "trace settings of a model": (
        lambda c, h, r: c.get_trace_settings("sim", headers=h),
        ("GET", "/v2/models/sim/trace/setting", {}),
    ),
    "read log settings": (
        lambda c, h, r: c.get_log_settings(headers=h),
        ("GET", "/v2/logging", {}),
    ),
    "change log settings": (
        lambda c, h, r: c.update_log_settings({"log_verbose_level": 0}, headers=h),
        ("POST", "/v2/logging", {"log_verbose_level": 0}),
    ),
}
WITHOUT_GPU = "register CUDA shared memory"  # gets past the secret, and then fails, since there is no GPU
CONNECTIONS = {
    "plain text to the TLS port": lambda ours, foreign: None,
    "TLS without a client certificate": lambda ours, foreign: TlsFiles(ours.ca_crt),
    "TLS, client certificate of another authority": lambda ours, foreign: TlsFiles(
        ours.ca_crt, foreign.client_crt, foreign.client_key
    ),
    "TLS, the client trusts another authority": lambda ours, foreign: TlsFiles(
        foreign.ca_crt, ours.client_crt, ours.client_key
    ),
}

# tried in tests/serving/test_serving_security.py, and between containers in tests/containers/test_stack_tls.py
PLAIN_HTTP = "plain text to the HTTP port, from beyond the server's own loopback"


@pytest.fixture(scope="module")
def secured(tiny_repository: Path, certificates: Any) -> Iterator[TritonServer]:
    c = certificates
    with TritonServer(
        tiny_repository,
        tls=ServerTls(c.server_crt, c.server_key, c.ca_crt, c.client_crt, c.client_key),
        admin_secret=AdminSecret(SECRET),
        model_control_mode="explicit",
        load_models=["*"],
    ) as server:
        yield server


@pytest.fixture(scope="module")
def tls(certificates: Any) -> TlsFiles:
    return TlsFiles(certificates.ca_crt, certificates.client_crt, certificates.client_key)


@pytest.fixture(scope="module")
def admin(secured: TritonServer, tls: TlsFiles) -> Iterator[Any]:
    import tritonclient.grpc as triton

    with triton.InferenceServerClient(
        secured.endpoints.grpc, ssl=True, root_certificates=tls.root_certificates,
        private_key=tls.private_key, certificate_chain=tls.certificate_chain,
    ) as client:  # fmt: skip
        yield client


@pytest.fixture(scope="module")
def region() -> Iterator[str]:
    memory = SharedMemory(create=True, size=REGION_BYTES)
    yield memory.name
    memory.close()
    memory.unlink()


def over_http(server: TritonServer, call: tuple[str, str, dict[str, Any]], headers: dict[str, str], region: str) -> str:
    """ "" if it is done, else the error's text."""
    method, path, body = call
    data = json.dumps(body).replace("{region}", region).encode() if method == "POST" else None
    request = urllib.request.Request(f"http://{server.endpoints.http}{path}", data, headers, method=method)
    try:
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"
    return ""


def documented_rows(heading: str) -> list[str]:
    """First cells of the table under a heading of docs/operations.md."""
    section = (ROOT / "docs" / "operations.md").read_text().partition(f"### {heading}\n")[2].partition("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [line.split("|")[1].strip() for line in lines[2:]]


def test_the_documented_tables_are_what_is_tried() -> None:
    others = [PLAIN_HTTP, "TLS, client certificate of the server's authority"]
    assert documented_rows("Connections") == [*CONNECTIONS, *others]
    assert documented_rows("Administrative calls") == [*ADMIN_CALLS, "health, metadata, model configuration, scoring"]


@pytest.mark.parametrize("way", CONNECTIONS)
def test_a_client_that_is_not_known_does_not_get_in(
    way: str, secured: TritonServer, certificates: Any, foreign_certificates: Any
) -> None:
    transport = GrpcTransport(secured.endpoints.grpc, CONNECTIONS[way](certificates, foreign_certificates))
    with pytest.raises(ServerUnavailable, match="TLS"), Scorer(transport, retries=ONCE) as scorer:
        _ = scorer.description


def test_a_known_client_scores_without_the_secret(secured: TritonServer, tls: TlsFiles, tiny_model: Any) -> None:
    rows = tiny_model.rows(70, seed=4)  # more than a request takes: the limit comes from the configuration
    with Scorer(GrpcTransport(secured.endpoints.grpc, tls)) as scorer:
        assert scorer.score(tiny_model.served(rows), "logit") == pytest.approx(tiny_model.logits(rows), abs=1e-5)


@pytest.mark.parametrize("what", ADMIN_CALLS)
def test_an_administrative_call_needs_the_secret(what: str, secured: TritonServer, admin: Any, region: str) -> None:
    from tritonclient.utils import InferenceServerException

    grpc, http = ADMIN_CALLS[what]
    for headers in ({}, {ADMIN_HEADER: WRONG}, {ADMIN_HEADER: ""}, {KEY: SECRET}):
        with pytest.raises(InferenceServerException, match="This protocol is restricted"):
            grpc(admin, headers, region)
    for headers in ({}, {KEY: WRONG}, {KEY: ""}, {ADMIN_HEADER: SECRET}):
        answer = over_http(secured, http, headers, region)
        assert answer.startswith("403")
        assert "This API is restricted" in answer
    if what == WITHOUT_GPU:
        with pytest.raises(InferenceServerException, match="failed to register"):
            grpc(admin, {ADMIN_HEADER: SECRET}, region)
        answer = over_http(secured, http, {KEY: SECRET}, region)
        assert answer.startswith("400")
        assert "restricted" not in answer
        return
    grpc(admin, {ADMIN_HEADER: SECRET}, region)
    admin.unregister_system_shared_memory("", headers={ADMIN_HEADER: SECRET})  # a region can be registered once only
    assert over_http(secured, http, {KEY: SECRET}, region) == ""
    admin.load_model("sim", headers={ADMIN_HEADER: SECRET})  # for the next one, if this was unloading


def test_what_the_secret_allows_is_really_done(secured: TritonServer, admin: Any, tls: TlsFiles) -> None:
    admin.unload_model("sim", headers={ADMIN_HEADER: SECRET})
    with Scorer(GrpcTransport(secured.endpoints.grpc, tls), retries=ONCE) as scorer, pytest.raises(ModelNotFound):
        _ = scorer.description
    admin.load_model("sim", headers={ADMIN_HEADER: SECRET})
    with Scorer(GrpcTransport(secured.endpoints.grpc, tls)) as scorer:
        assert scorer.description.version == "1"


def test_a_server_that_restricts_what_clients_need_is_told_at_once(tiny_repository: Path) -> None:
    restricted = ["--grpc-restricted-protocol=model-config:key=value"]
    with (
        TritonServer(tiny_repository, extra_args=restricted) as server,
        Scorer(GrpcTransport(server.endpoints.grpc)) as scorer,
        pytest.raises(ServerError, match=r"protocol is restricted.*need the protocols metadata, model-config"),
    ):
        _ = scorer.description


def test_the_command_line_is_where_the_secret_can_be_read(secured: TritonServer) -> None:
    """docs/operations.md says so. Should a Triton take it in another way one day, this test tells."""
    command = Path(f"/proc/{secured.pid}/cmdline").read_text()
    assert SECRET in command
    assert SECRET not in Path(f"/proc/{secured.pid}/environ").read_text()
    assert SECRET not in secured.log_file.read_text()


def test_an_administrator_needs_the_secret_and_a_certificate(
    secured: TritonServer, tls: TlsFiles, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    headers = dict([admin_header(secret)])
    with ServerAdmin(Connection(secured.endpoints.grpc, tls, headers)) as administrator:
        administrator.load("sim")
        assert administrator.ready_versions("sim") == [1]
    stranger = ServerAdmin(Connection(secured.endpoints.grpc, tls))
    with stranger, pytest.raises(SettingError, match="--admin_secret_file"):
        stranger.load("sim")
    with ServerAdmin(Connection(secured.endpoints.grpc, None, headers)) as unencrypted, pytest.raises(ServerDown):
        unencrypted.ready_versions("sim")
