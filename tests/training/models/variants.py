"""Every model with every option that changes its wiring: (model, options, specification), by name."""

from __future__ import annotations

from typing import Any

ALL_USERS = ("user_id", "country", "age")
VARIANTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "sim": ("sim", {}, {}),
    "sim, reference": ("sim", {"reference_compatible": True}, {}),
    "sim, hard search": ("sim", {"search": "hard"}, {}),
    "sim, projected search": ("sim", {"search_projection": True}, {}),
    "sim, bilinear": ("sim", {"history_attention": "bilinear"}, {}),
    "sim, activation unit": ("sim", {"history_attention": "activation_unit"}, {}),
    "sim, multi-head": ("sim", {"history_attention": "multi_head"}, {}),
    "sim, multi-head with times": ("sim", {"history_attention": "multi_head", "time_intervals": True}, {"times": True}),
    "sim, bilinear with times": ("sim", {"history_attention": "bilinear", "time_intervals": True}, {"times": True}),
    "sim, hard search with times": (
        "sim", {"history_attention": "multi_head", "time_intervals": True, "search": "hard"}, {"times": True},
    ),
    "sim, projected with times": (
        "sim", {"history_attention": "bilinear", "time_intervals": True, "search_projection": True}, {"times": True},
    ),
    "sim, no position bias": ("sim", {"position_bias": False}, {}),
    "sim, augru of the reference": ("sim", {"augru": "reference"}, {}),
    "sim, unmasked rnn": ("sim", {"masked_rnn": False}, {}),
    "sim, weights of losses": (
        "sim", {"aux_loss_weight": 0.3, "stage_one_loss_weight": 0.2, "stage_two_loss_weight": 0.9}, {},
    ),
    "sim, all of the long part": ("sim", {"k": 50}, {}),
    "sim, one selected item": ("sim", {"k": 1}, {}),
    "sim, three item features": ("sim", {}, {"items": 3}),
    "sim, one item feature": ("sim", {}, {"items": 1}),
    "sim, no user features": ("sim", {}, {"users": ()}),
    "sim, all kinds of user features": ("sim", {}, {"users": ALL_USERS}),
    "din": ("din", {}, {}),
    "din, reference": ("din", {"reference_compatible": True}, {}),
    "din, bilinear": ("din", {"history_attention": "bilinear"}, {}),
    "din, activation unit": ("din", {"history_attention": "activation_unit"}, {}),
    "din, multi-head": ("din", {"history_attention": "multi_head"}, {}),
    "din, three item and numeric user features": ("din", {}, {"items": 3, "users": ("age",)}),
    "din, no user features": ("din", {}, {"users": ()}),
    "dien": ("dien", {}, {}),
    "dien, reference": ("dien", {"reference_compatible": True}, {}),
    "dien, augru of the reference": ("dien", {"augru": "reference"}, {}),
    "dien, unmasked rnn": ("dien", {"masked_rnn": False}, {}),
    "dien, weight of the auxiliary loss": ("dien", {"aux_loss_weight": 0.3}, {}),
    "dien, three item features and all users": ("dien", {}, {"items": 3, "users": ALL_USERS}),
    "dien, no user features": ("dien", {}, {"users": ()}),
}  # fmt: skip
