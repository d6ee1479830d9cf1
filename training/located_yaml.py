"""YAML read together with the line of every key and list entry, for error messages that name their place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class LocatedYaml:
    """`value` is the plain data; `lines` maps a path such as ("feature_spec", "uid", "dtype") to its line, from 1."""

    value: Any
    lines: dict[Place, int]
    errors: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, content: bytes) -> LocatedYaml:
        """`errors` has what makes the text no YAML, or keys that stand twice (YAML would let the last one win)."""
        try:
            text = content.decode("utf-8")
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, TypeError) as error:
            return cls(None, {}, [f"not readable as YAML: {error}"])
        lines: dict[Place, int] = {}
        errors: list[str] = []
        if node is not None:
            _collect(node, (), lines, errors)
        return cls(value, lines, errors)

    @classmethod
    def without_places(cls, value: Any) -> LocatedYaml:
        return cls(value, {})

    def describe(self, place: Place) -> str:
        """`feature_spec.uid.dtype (line 12)`; a place that is missing from the file shows its parent's line."""
        text = _dotted(place)
        for end in range(len(place), 0, -1):
            if place[:end] in self.lines:
                return f"{text} (line {self.lines[place[:end]]})"
        return text or "top level"


def _dotted(place: Place) -> str:
    return ".".join(f"[{p}]" if isinstance(p, int) else str(p) for p in place).replace(".[", "[")


def _collect(node: yaml.Node, place: Place, lines: dict[Place, int], errors: list[str]) -> None:
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, key.value)
            if inner in lines:
                line = key.start_mark.line + 1
                errors.append(f"{_dotted(inner)} (line {line}): this key is already in line {lines[inner]}; remove one")
            lines[inner] = key.start_mark.line + 1
            _collect(value, inner, lines, errors)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _collect(value, (*place, index), lines, errors)
