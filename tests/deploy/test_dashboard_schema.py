"""The dashboard by Grafana's own schema: what the classes generated from it do not read back, Grafana does not know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

FILE = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards" / "recserve.json"


@pytest.fixture
def dashboard() -> dict[str, Any]:
    register_default_plugins()  # the panels and queries of each kind
    return json.loads(FILE.read_text())


def known_to_grafana(dashboard: dict[str, Any]) -> Any:
    return json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))


def lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Where a value is missing or other afterwards. Defaults that came in are nothing lost."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from lost(value, after[key], f"{path}/{key}") if key in after else [f"{path}/{key}"]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, (a, b) in enumerate(zip(before, after, strict=True)):
            yield from lost(a, b, f"{path}/{i}")
    elif before != after:
        yield path


def test_grafanas_schema_knows_every_entry(dashboard: dict[str, Any]) -> None:
    assert list(lost(dashboard, known_to_grafana(dashboard))) == []


@pytest.mark.parametrize("place", [(), ("panels", 0), ("panels", 0, "targets", 0), ("templating", "list", 0)])
def test_an_unknown_entry_would_be_found(dashboard: dict[str, Any], place: tuple[Any, ...]) -> None:
    entry: Any = dashboard
    for step in place:
        entry = entry[step]
    entry["tilte"] = "x"
    (found,) = lost(dashboard, known_to_grafana(dashboard))
    assert found.endswith("/tilte")
