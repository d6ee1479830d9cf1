"""Parameters -> command-line options: one definition of name, default and help."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

import click

from training import settings as settings_module
from training.settings import Settings, parameters

GROUP_TYPES = typing.get_type_hints(Settings)


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--name` for every parameter. A flag that is not given is None, so that a recipe's value stays."""
    for group, parameter in reversed(list(parameters())):
        hint = typing.get_type_hints(GROUP_TYPES[group], vars(settings_module))[parameter.name]
        command = _option(parameter.name, hint, parameter.default, parameter.metadata)(command)
    return command


def given(values: dict[str, Any]) -> dict[str, Any]:
    """Only the flags that were given."""
    return {name: value for name, value in values.items() if value is not None}


def _option(name: str, hint: Any, default: Any, metadata: Any) -> Callable[..., Any]:
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    text = f"{metadata['help']}  [default: {shown if shown != '' else 'none'}]"
    if hint is bool:
        return click.option(f"--{name}/--no_{name}", name, default=None, help=text)
    kind: Any = click.Choice(metadata["choices"]) if metadata["choices"] else {int: int, float: float}.get(hint, str)
    return click.option(f"--{name}", type=kind, default=None, help=text)
