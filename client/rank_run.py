"""One pass over users: user, history and candidates -> server -> the best candidates of each, as rows of a file."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from client.errors import DataFileError, ServerError
from client.progress import RowProgress
from client.rank_request import Arrays, RankLayout, RankRequest, checked_request
from client.ranking import best
from client.readers import Columns
from client.rows import RowSource
from client.score_files import ScoreFile
from client.score_run import LOGIT, PROBABILITY
from client.scorer import Scorer
from client.transport import TensorDescription

CATALOGUE_ROWS_AT_A_TIME = 4096


@dataclass(frozen=True)
class RankSummary:
    """seconds: reading included."""

    model: str
    version: str
    users: int
    candidates: int
    seconds: float


def rank_users(
    scorer: Scorer,
    users: RowSource,
    catalogue: RowSource | None,
    score_file: ScoreFile,
    top: int | None,
    limit: int | None = None,
) -> RankSummary:
    """Ranks each user's candidates; writes the `top` best of each, best first: row of the user from 1, rank from 1.

    users: one user a row. catalogue: one item a row, candidates of every user; None: each user's row has its own,
    as lists. Raises ScoringError; DataFileError for rows that do not fit, ServerError for scores that are not finite.
    """
    layout, version = RankLayout.of(scorer.description), scorer.description.version
    outputs = [name for name in (PROBABILITY, LOGIT) if name in scorer.description.outputs]
    sent: deque[RankRequest] = deque()
    count = candidates = 0
    started = time.monotonic()
    items = None if catalogue is None else _items(catalogue, layout)

    def requests() -> Iterator[RankRequest]:
        for columns in _user_rows(users, layout, items is None, limit):
            request = _request(columns, items, layout)
            sent.append(request)
            yield request

    with RowProgress("ranking", limit) as progress:
        for answer in scorer.rank_stream(requests(), outputs):
            request = sent.popleft()
            count += 1
            candidates += request.shape[1]
            if not all(np.isfinite(values).all() for values in answer.values()):
                raise ServerError(
                    f"{layout.model}, version {version}: got scores that are not finite numbers (NaN or infinite) for "
                    f"user {count}. Export another version of the model."
                )
            score_file.write(_ranked_rows(count, request, answer, layout, top))
            progress.advance(1)
    return RankSummary(layout.model, version, count, candidates, time.monotonic() - started)


def _items(catalogue: RowSource, layout: RankLayout) -> Arrays:
    """{candidate input: [N]}."""
    tensors = {name: replace(tensor, shape=(1,)) for name, tensor in layout.candidates.items()}
    source = replace(catalogue, label=None, absent=None)
    parts = [columns for columns, _ in source.batches(tensors, CATALOGUE_ROWS_AT_A_TIME)]
    if not parts:
        raise DataFileError(f"{catalogue.parts[0].files[0]}: holds no candidates. Name a file with one item a row.")
    return {name: np.concatenate([part[name][:, 0] for part in parts]) for name in tensors}


def _user_rows(users: RowSource, layout: RankLayout, with_candidates: bool, limit: int | None) -> Iterator[Columns]:
    """One user at a time, so that lists of candidates need no padding: {input name: [1, …]}."""
    tensors: dict[str, TensorDescription] = dict(layout.user)
    tensors |= {name: replace(tensor, shape=(layout.steps,)) for name, tensor in layout.history.items()}
    lists = layout.candidates if with_candidates else {}
    source = replace(users, label=None, absent=None)
    for columns, _ in source.batches({**tensors, **lists}, 1, limit, lists):
        yield columns


def _request(columns: Columns, items: Arrays | None, layout: RankLayout) -> RankRequest:
    user = {name: columns[name][0] for name in layout.user}
    history = {name: columns[name][0] for name in layout.history}
    candidates = items or {name: columns[name][0] for name in layout.candidates}
    return checked_request(user, history, candidates, layout)


def _ranked_rows(number: int, request: RankRequest, answer: Arrays, layout: RankLayout, top: int | None) -> Columns:
    """Columns of the file; [n] each."""
    ranking = best(answer[LOGIT] if LOGIT in answer else next(iter(answer.values())), top)
    n = len(ranking.order)
    rows: Columns = {"row": np.full(n, number)}
    rows |= {name: np.repeat(request.users[name][0], n) for name in layout.user}
    rows["rank"] = np.arange(1, n + 1)
    rows |= {name: value[0, ranking.order] for name, value in request.candidates.items()}
    return rows | {name: values[ranking.order] for name, values in answer.items()}
