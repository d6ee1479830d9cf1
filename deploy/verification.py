"""Scores a version through the server, pinned to it, and compares element by element with what training gave."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from client import DeadlineExceeded, RetryPolicy, Scorer, ScoringError, ServerUnavailable
from client.rank_request import RankLayout
from client.transport import RESTRICTED
from deploy.connection import Connection
from deploy.errors import ServerDown, SettingError, VerificationFailed
from deploy.held_set import HeldSet

TOLERANCE = 1e-5  # as in the parity check of the export
LOW_PRECISION_TOLERANCE = 0.03
ROWS_OF_A_REQUEST, USERS_OF_A_REQUEST = 16, 4  # small, so that users' requests do not wait behind them
RANK_ROWS = 64
PAUSE = 3.0  # after each request, times what it took: a quarter of the time is used


@dataclass(frozen=True)
class Verified:
    """rows, rank_rows: compared; 0 where there was nothing to compare with, then one row of padding was scored."""

    rows: int
    max_difference: float
    rank_rows: int = 0


def tolerance_of(manifest: dict[str, Any]) -> float:
    is_exact = manifest.get("dtype", "float32") == "float32" and not manifest.get("tf_trt")
    return TOLERANCE if is_exact else LOW_PRECISION_TOLERANCE


def verify(
    connection: Connection, model: str, rank_model: str | None, version: int, held: HeldSet | None, tolerance: float
) -> Verified:
    """Raises VerificationFailed; or ServerDown or SettingError, which say nothing about the version."""
    try:
        rows, difference = _check_rows(connection, model, version, held, tolerance)
        if rank_model is None:
            return Verified(rows, difference)
        rank_rows, rank_difference = _check_rank(connection, rank_model, version, held, tolerance)
        return Verified(rows, max(difference, rank_difference), rank_rows)
    except (ServerUnavailable, DeadlineExceeded) as error:
        raise ServerDown(str(error)) from error
    except ScoringError as error:
        if RESTRICTED in str(error):
            raise SettingError(str(error)) from error
        raise VerificationFailed(f"{model}, version {version}: it does not score: {error}") from error


def _check_rows(
    connection: Connection, model: str, version: int, held: HeldSet | None, tolerance: float
) -> tuple[int, float]:
    with _scorer(connection, model, version) as scorer:
        if held is None or not len(held):
            zeros = {name: np.zeros((1, *t.shape), t.dtype) for name, t in scorer.description.inputs.items()}
            _require_finite(scorer.score(zeros, "logit"), model, version)
            return 0, 0.0
        logit = _little_by_little(
            len(held), ROWS_OF_A_REQUEST, lambda part: scorer.score(_part(held.inputs, part), "logit")
        )
    return len(held), held.compare(logit, tolerance, f"{model}, version {version}")


def _check_rank(
    connection: Connection, model: str, version: int, held: HeldSet | None, tolerance: float
) -> tuple[int, float]:
    """Each row as a user with one candidate; the first rows only, since users are computed one after another."""
    with _scorer(connection, model, version) as scorer:
        layout = RankLayout.of(scorer.description)
        if held is None or not len(held):
            nothing = np.zeros((1, 1), np.int64)
            user = {name: np.zeros(1, t.dtype) for name, t in layout.user.items()}
            history = {name: nothing.astype(t.dtype) for name, t in layout.history.items()}
            candidates = {name: nothing.astype(t.dtype) for name, t in layout.candidates.items()}
            _require_finite(scorer.rank(user, history, candidates, "logit"), model, version)
            return 0, 0.0
        first = held.first(RANK_ROWS)

        def rank(part: slice) -> np.ndarray:
            rows = _part(first.inputs, part)
            user = {name: rows[name][:, 0] for name in layout.user}
            history = {name: rows[name] for name in layout.history}
            return scorer.rank(user, history, {name: rows[name] for name in layout.candidates}, "logit")[:, 0]

        logit = _little_by_little(len(first), USERS_OF_A_REQUEST, rank)
    return len(first), first.compare(logit, tolerance, f"{model}, version {version}")


def _little_by_little(rows: int, size: int, score: Callable[[slice], np.ndarray]) -> np.ndarray:
    """score(part) of all rows, with pauses in which the server has its cores for users."""
    parts = []
    for start in range(0, rows, size):
        began = time.monotonic()
        parts.append(score(slice(start, start + size)))
        time.sleep(PAUSE * (time.monotonic() - began))
    return np.concatenate(parts)


def _part(inputs: Mapping[str, np.ndarray], part: slice) -> dict[str, np.ndarray]:
    return {name: values[part] for name, values in inputs.items()}


def _scorer(connection: Connection, model: str, version: int) -> Scorer:
    return Scorer(
        connection.transport(), model, str(version), batch_size=ROWS_OF_A_REQUEST, in_flight=1, deadline_s=120.0,
        retries=RetryPolicy(),  # an overloaded server refuses some
    )  # fmt: skip


def _require_finite(logit: np.ndarray, model: str, version: int) -> None:
    if not np.isfinite(logit).all():
        raise VerificationFailed(f"{model}, version {version}: the score of a row of padding is not a finite number")
