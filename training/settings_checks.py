"""Which options a model uses. One that it would ignore is named, so that no result is put down to it.

A warning and no error: one set of options may serve runs of several models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from training.settings import ModelSettings


class _Needs(NamedTuple):
    """Another option, and the value of it that makes a model use the option at all."""

    name: str
    value: str


ALWAYS = None
SOFT = _Needs("search", "soft")
HEADS = _Needs("history_attention", "multi_head")
UNIT = _Needs("history_attention", "activation_unit")
# option -> the models that use it, and when. Options that are not here are used by every model.
USES: Mapping[str, Mapping[str, _Needs | None]] = {
    "stage_one_mlp_dims": {"sim": SOFT},
    "stage_one_loss_weight": {"sim": SOFT},
    "stage_two_loss_weight": {"sim": ALWAYS},
    "k": {"sim": ALWAYS},
    "search": {"sim": ALWAYS},
    "search_projection": {"sim": SOFT},
    "time_intervals": {"sim": ALWAYS},
    "history_attention": {"sim": ALWAYS, "din": ALWAYS},
    "attention_heads": {"sim": HEADS, "din": HEADS},
    "position_bias": {"sim": ALWAYS, "din": ALWAYS},
    "activation_unit_dims": {"sim": ALWAYS, "dien": ALWAYS, "din": UNIT},
    "long_seq_length": {"sim": ALWAYS, "dien": ALWAYS},
    "aux_mlp_dims": {"sim": ALWAYS, "dien": ALWAYS},
    "aux_loss_weight": {"sim": ALWAYS, "dien": ALWAYS},
    "augru": {"sim": ALWAYS, "dien": ALWAYS},
    "masked_rnn": {"sim": ALWAYS, "dien": ALWAYS},
}


def unused_options(settings: ModelSettings) -> list[str]:
    """A sentence for each option that has another value than its default, but no effect on the model.

    For what a user asks for, not for stored settings. What reference_compatible overrides is not named.
    """
    return list(_unused(settings))


def _unused(settings: ModelSettings) -> Iterator[str]:
    model = settings.model_type
    for option in fields(settings):
        value, uses = getattr(settings, option.name), USES.get(option.name)
        if uses is None or value == option.default:
            continue
        got = f"{option.name}: got {_shown(value)} with model_type {model}"
        if model not in uses:
            yield f"{got}, which does not use it; model_type {' and '.join(uses)} do{'es' if len(uses) == 1 else ''}"
        needs = uses.get(model)
        if needs and not _holds(needs, settings):
            other = getattr(settings, needs.name)
            yield f"{got} and {needs.name} {other}, which does not use it; {needs.name} {needs.value} does"


def _holds(needs: _Needs, settings: ModelSettings) -> bool:
    """Also if it would hold without reference_compatible."""
    return needs.value in (getattr(settings, needs.name), getattr(settings.resolved(), needs.name))


def _shown(value: Any) -> str:
    """As it is written in a recipe."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
