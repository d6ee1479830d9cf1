"""Reading the compose files as Compose does: anchors, variables, and one file over another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
VARIABLE = re.compile(r"\$\{(\w+)(?::?-([^}]*))?\}")


def load(*names: str, variables: dict[str, str] | None = None) -> dict[str, Any]:
    """The files of the repository's root, later ones over earlier ones, with variables put in.

    Raises AssertionError for a variable without a default that is not given.
    """
    merged: dict[str, Any] = {}
    for name in names:
        text = (ROOT / name).read_text()
        merged = _over(merged, _filled(yaml.safe_load(text), variables or {}))
    return {key: value for key, value in merged.items() if not key.startswith("x-")}


def _filled(value: Any, variables: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, variables) for item in value]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        assert name in variables or default is not None, f"${{{name}}} has no default"
        return variables.get(name, default)

    return VARIABLE.sub(fill, value)


def _over(below: Any, above: Any) -> Any:
    """Compose's rule: mappings merge, command and entrypoint are replaced, other lists are appended."""
    if isinstance(below, dict) and isinstance(above, dict):
        replaced = {"command", "entrypoint", "test"}
        return {
            key: _over(below[key], above[key]) if key in below and key in above and key not in replaced
            else above.get(key, below.get(key))
            for key in {**below, **above}
        }  # fmt: skip
    if isinstance(below, list) and isinstance(above, list):
        return below + above
    return above
