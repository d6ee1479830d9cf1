"""What SIM, DIN and DIEN ask of a feature specification's channels. Every rule reports; none stops at the first."""

from __future__ import annotations

import re
from collections.abc import Iterator

from training.feature_spec import Feature, FeatureSpec

CHANNELS = ("label", "target_item_features", "positive_history")
USERS = "user_features"  # may be empty or missing: no user is known
NEGATIVES = "negative_history"
TIMES = ("target_timestamp", "history_timestamps")
HISTORIES = ("positive_history", NEGATIVES, "history_timestamps")
SERVABLE_NAME = re.compile(r"(?!self$)[A-Za-z_][A-Za-z0-9_]*")  # TensorFlow makes arguments of the names


def channel_problems(spec: FeatureSpec, model: str, needed: tuple[str, ...]) -> list[str]:
    """All reasons why a model cannot be built on this specification; empty if it can. needed: its channels."""
    missing = [c for c in needed if c not in spec.channels]
    problems = [f"channel_spec: no channel {c!r}; {model} needs {', '.join(needed)}{_hint(c)}" for c in missing]
    channels = {c: spec.channel(c) for c in (*needed, USERS) if c in spec.channels}
    for name, features in channels.items():
        problems += _feature_problems(name, features)
    target = channels.get("target_item_features")
    for name in ("positive_history", NEGATIVES):
        if target is not None and name in channels:
            problems += _sharing_problems(name, channels[name], target)
    lengths = {f.dimensions for name in HISTORIES for f in channels.get(name, ())}
    if lengths and (len(lengths) != 1 or len(next(iter(lengths))) != 1):
        shown = sorted(map(list, lengths))
        problems.append(f"feature_spec: histories need one and the same dimensions [T], got {shown}")
    return problems


def _hint(channel: str) -> str:
    return ". Preprocess with --timestamps, or train with --no_time_intervals" if channel in TIMES else ""


def _feature_problems(channel: str, features: tuple[Feature, ...]) -> Iterator[str]:
    if channel in ("label", *TIMES) and len(features) != 1:
        yield f"channel_spec.{channel}: expected one feature, got {len(features)}"
    if channel in ("target_item_features", "positive_history") and not features:
        yield f"channel_spec.{channel}: expected at least one feature, got none"
    for feature in features:
        if channel not in HISTORIES and feature.dimensions:
            yield f"feature_spec.{feature.name}.dimensions: expected none in {channel}, got {list(feature.dimensions)}"
        if channel == "label":
            continue
        if feature.cardinality is None and channel not in (USERS, *TIMES):
            yield (
                f"feature_spec.{feature.name}.cardinality: missing; every feature of {channel} is embedded. Numeric "
                "features belong to user_features."
            )
        if not SERVABLE_NAME.fullmatch(feature.name):
            yield (
                f"feature_spec.{feature.name}: cannot be the name of a served input; use letters, digits and '_', "
                "not starting with a digit. Rename the feature."
            )


def _sharing_problems(channel: str, features: tuple[Feature, ...], target: tuple[Feature, ...]) -> Iterator[str]:
    if len(features) != len(target):
        yield (
            f"channel_spec.{channel}: expected {len(target)} features, as in target_item_features, "
            f"got {len(features)}; they share tables by position"
        )
    for feature, shared in zip(features, target, strict=False):
        if feature.cardinality != shared.cardinality:
            yield (
                f"feature_spec.{feature.name}.cardinality: expected {shared.cardinality}, as {shared.name} with which "
                f"it shares a table, got {feature.cardinality}"
            )
