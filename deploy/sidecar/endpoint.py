"""/metrics and /healthz over HTTP, in a thread of their own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from deploy.errors import SettingError
from deploy.sidecar.metrics import Metrics

LOST_AFTER_S = 900.0  # longer than Triton may take to load a model


@contextmanager
def serving(metrics: Metrics, host: str, port: int) -> Iterator[int]:
    """Serves inside; yields the port (0 chooses a free one). Raises SettingError for an address that is taken.

    /healthz answers 200 while the side-car is at work, and 503 when it was not seen at work for a quarter of an hour.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, metrics.text(), "text/plain; version=0.0.4; charset=utf-8")
            elif self.path == "/healthz":
                healthy, facts = _health(metrics)
                self._answer(200 if healthy else 503, json.dumps(facts) + "\n", "application/json")
            else:
                self._answer(404, "expected /metrics or /healthz\n", "text/plain; charset=utf-8")

        def _answer(self, code: int, text: str, content_type: str) -> None:
            body = text.encode()
            self.send_response(code)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Scrapes are not worth a line each."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise SettingError(
            f"--metrics_port: cannot listen on {host}:{port}: {error.strerror}. "
            "Choose another port, or 0 for a free one."
        ) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _health(metrics: Metrics) -> tuple[bool, dict[str, Any]]:
    seen = metrics.value("last_tick_timestamp_seconds") or 0.0
    idle_s = time.time() - seen
    facts = {"phase": metrics.phase(), "live_version": int(metrics.value("live_version") or 0), "seen_s_ago": idle_s}
    return idle_s < LOST_AFTER_S, facts
