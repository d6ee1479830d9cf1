"""The Amazon layout of a specification: a user, a target item and two histories of items with their categories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def amazon_layout(sizes: Mapping[str, int], history: int, item_dtype: str = "int64") -> dict[str, Any]:
    """The sections feature_spec and channel_spec. sizes: those of the tables user_id, item_id and cat_id."""
    features: dict[str, Any] = {
        "label": {"dtype": "bool"},
        "user_id": {"dtype": "int64", "cardinality": sizes["user_id"]},
    }
    for suffix, dimensions in (("trgt", {}), ("pos", {"dimensions": [history]}), ("neg", {"dimensions": [history]})):
        for base in ("item_id", "cat_id"):
            features[f"{base}_{suffix}"] = {"dtype": item_dtype, "cardinality": sizes[base], **dimensions}
    channels = {
        "label": ["label"],
        "user_features": ["user_id"],
        "target_item_features": ["item_id_trgt", "cat_id_trgt"],
        "positive_history": ["item_id_pos", "cat_id_pos"],
        "negative_history": ["item_id_neg", "cat_id_neg"],
    }
    return {"feature_spec": features, "channel_spec": channels}
