"""Health check of the Triton images: every loaded model must really score one row of zeros.

"Ready" alone proves nothing: Triton says it of a model whose backend fails on every request. Standard library only,
over HTTP on the container's own loopback. Exit code 0 is healthy; 1 is not, and one line says why.

No model is not healthy: the server has nothing to answer with. It is what a container on an empty volume reports until
the first version is published, which the health check's start period covers.

Environment:
    RECSERVE_HEALTH_MODELS      names, separated by blanks: these must score. Default: all loaded ones, at least one.
    RECSERVE_HTTP_PORT          default 8000
    RECSERVE_HEALTH_TIMEOUT_S   seconds for one answer, default 5
    RECSERVE_ADMIN_SECRET_FILE  the secret for administrative calls, which asking for what is loaded is
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import struct
import sys
from pathlib import Path

PORT = int(os.environ.get("RECSERVE_HTTP_PORT", "8000"))
TIMEOUT_S = float(os.environ.get("RECSERVE_HEALTH_TIMEOUT_S", "5"))
HEADER_LENGTH = "Inference-Header-Content-Length"  # of the JSON that stands before the tensors' bytes
# the others, INT32, UINT32, FP32 and the length of a BYTES item, have 4
ITEM_BYTES = {"BOOL": 1, "INT8": 1, "UINT8": 1, "INT16": 2, "UINT16": 2, "FP16": 2, "BF16": 2}
ITEM_BYTES |= {"INT64": 8, "UINT64": 8, "FP64": 8}
FLOATS = {"FP16": "<e", "FP32": "<f", "FP64": "<d"}


class Unhealthy(Exception):
    """Why the server is not healthy, in one line."""


def main() -> int:
    try:
        models = os.environ.get("RECSERVE_HEALTH_MODELS", "").split() or loaded_models()
        if not models:
            raise Unhealthy("no model is loaded yet")
        for model in models:
            score_zeros(model)
    except Unhealthy as reason:
        print(f"unhealthy: {reason}")
        return 1
    print(f"healthy: {', '.join(models)} scored")
    return 0


def loaded_models() -> list[str]:
    index = json.loads(call("v2/repository/index", b"{}", admin_header())[0])
    return sorted({entry["name"] for entry in index if entry.get("state") == "READY"})


def admin_header() -> dict[str, str]:
    file = os.environ.get("RECSERVE_ADMIN_SECRET_FILE")
    try:
        return {"admin-key": Path(file).read_text().strip()} if file else {}
    except OSError as error:
        raise Unhealthy(f"RECSERVE_ADMIN_SECRET_FILE: cannot read {file}: {error.strerror}") from error


def score_zeros(model: str) -> None:
    """One request of one row, zero everywhere: zero bytes are 0, false or an empty string in every data type."""
    inputs, payload = [], b""
    for tensor in json.loads(call(f"v2/models/{model}")[0])["inputs"]:
        shape = [1 if size < 0 else size for size in map(int, tensor["shape"])]
        size = math.prod(shape) * ITEM_BYTES.get(tensor["datatype"], 4)
        parameters = {"binary_data_size": size}
        inputs.append({**tensor, "shape": shape, "parameters": parameters})
        payload += bytes(size)
    request = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    headers = {HEADER_LENGTH: str(len(request)), "Content-Type": "application/octet-stream"}
    answer, length = call(f"v2/models/{model}/infer", request + payload, headers)
    values = answer[length:]
    for output in json.loads(answer[:length])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        check_output(f"{model} answered {output['name']}", output["datatype"], values[:size])
        values = values[size:]


def check_output(label: str, datatype: str, values: bytes) -> None:
    if not values:
        raise Unhealthy(f"{label} without values")
    if datatype in FLOATS and not all(
        math.isfinite(value) for (value,) in struct.iter_unpack(FLOATS[datatype], values)
    ):
        raise Unhealthy(f"{label} with values that are not finite numbers")


def call(path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[bytes, int]:
    """A good answer, and how much of it is JSON. POST if there is something to send, else GET."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=TIMEOUT_S)
    with contextlib.closing(connection):
        try:
            connection.request("GET" if body is None else "POST", f"/{path}", body, headers or {})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unhealthy(f"port {PORT} does not answer /{path}: {error!r}") from error
    if answer.status != http.client.OK:
        raise Unhealthy(f"/{path} was answered with {answer.status}: {content.decode(errors='replace').strip()}")
    return content, int(answer.headers.get(HEADER_LENGTH, len(content)))


if __name__ == "__main__":
    sys.exit(main())
