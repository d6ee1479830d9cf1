"""What the side-car tells Prometheus, in the text format, and its health."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

PREFIX = "recserve_sidecar"
HELP = {
    "decisions_total": ("counter", "Decisions by kind and by the kind of their reason."),
    "live_version": ("gauge", "Version that is served; 0 for none."),
    "live_version_created_timestamp_seconds": ("gauge", "When the live version was exported, seconds since 1970."),
    "phase": ("gauge", "1 for what the side-car does now."),
    "stage_duration_seconds": ("gauge", "How long each stage took the last time."),
    "test_metric": ("gauge", "Metric of the test rows: of the last candidate, and of the live version beside it."),
    "server_up": ("gauge", "1 if the server answered the last time."),
    "datasets_waiting": ("gauge", "Complete datasets that are not decided on."),
    "last_tick_timestamp_seconds": ("gauge", "When the side-car was last seen at work, seconds since 1970."),
}
Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Thread-safe. Counters start at 0 with the process, as Prometheus expects."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, dict[Labels, float]] = {name: {} for name in HELP}
        self.tick()

    def set(self, name: str, value: float, **labels: str) -> None:
        with self._lock:
            self._values[name][tuple(labels.items())] = value

    def count(self, name: str, **labels: str) -> None:
        with self._lock:
            key = tuple(labels.items())
            self._values[name][key] = self._values[name].get(key, 0.0) + 1.0

    def only(self, name: str, **labels: str) -> None:
        """1 for these labels, and no others."""
        with self._lock:
            self._values[name] = {tuple(labels.items()): 1.0}

    def value(self, name: str, **labels: str) -> float | None:
        with self._lock:
            return self._values[name].get(tuple(labels.items()))

    def phase(self) -> str:
        with self._lock:
            return next((dict(labels)["phase"] for labels in self._values["phase"]), "starting")

    def tick(self) -> None:
        self.set("last_tick_timestamp_seconds", time.time())

    def text(self) -> str:
        """The exposition format, version 0.0.4."""
        lines = []
        with self._lock:
            for name, (kind, help_text) in HELP.items():
                lines += [f"# HELP {PREFIX}_{name} {help_text}", f"# TYPE {PREFIX}_{name} {kind}"]
                lines += [f"{PREFIX}_{name}{_labels(dict(k))} {v:.17g}" for k, v in self._values[name].items()]
        return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
