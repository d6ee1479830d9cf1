"""One pass over a dataset: rows -> server -> scores to a file, and metrics. Memory: 8 bytes a row, plus a window."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from client.errors import DataFileError, ServerError
from client.metrics import log_loss_of_logits, log_loss_of_probabilities, roc_auc
from client.progress import RowProgress
from client.readers import Columns
from client.rows import RowSource
from client.score_files import ScoreFile
from client.scorer import Scorer

PROBABILITY, LOGIT = "probability", "logit"
ROWS_AT_A_TIME = 1024  # for a server without a limit


@dataclass(frozen=True)
class ScoreSummary:
    """auc, log_loss: None without labels; auc also if there is only one class. seconds: reading included."""

    model: str
    version: str
    rows: int
    auc: float | None
    log_loss: float | None
    seconds: float
    rows_per_s: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def score_rows(
    scorer: Scorer, source: RowSource, score_file: ScoreFile | None = None, limit: int | None = None
) -> ScoreSummary:
    """Scores every row of the source, in order; `score_file` gets probability, logit and, if known, label.

    Raises ScoringError; DataFileError for a label that is neither 0 nor 1, ServerError for scores that are not finite.
    """
    description = scorer.description
    outputs = [name for name in (PROBABILITY, LOGIT) if name in description.outputs] or list(description.outputs)[:1]
    ranking = LOGIT if LOGIT in outputs else outputs[0]  # float32 probabilities near 0 and 1 tie, logits do not
    labels: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    not_finite = 0
    started = time.monotonic()

    def batches() -> Iterator[Columns]:
        first_row = 1
        for columns, label in source.batches(description.inputs, scorer.rows_per_request or ROWS_AT_A_TIME, limit):
            if label is not None:
                _check_labels(label, first_row)
                labels.append(label)
                first_row += len(label)
            yield columns

    with RowProgress("scoring", limit) as progress:
        # a batch is one request, and answers keep the order: the label of answer i is labels[i]
        for index, answer in enumerate(scorer.score_stream(batches(), outputs)):
            scores.append(answer[ranking])
            not_finite += _not_finite(answer)
            if score_file is not None:
                label_column = {"label": labels[index].astype(np.int8)} if labels else {}
                score_file.write({**answer, **label_column})
            progress.advance(len(answer[ranking]))
    seconds = time.monotonic() - started
    if not_finite:
        raise ServerError(
            f"{description.model}, version {description.version}: got scores that are not finite numbers (NaN or "
            f"infinite) for {not_finite} of {sum(map(len, scores))} rows. Export another version of the model."
        )
    all_scores = np.concatenate(scores) if scores else np.empty(0, np.float32)
    auc, loss = _metrics(np.concatenate(labels), all_scores, ranking == LOGIT) if labels else (None, None)
    return ScoreSummary(
        description.model,
        description.version,
        len(all_scores),
        auc,
        loss,
        seconds,
        len(all_scores) / max(seconds, 1e-9),
    )


def _check_labels(labels: np.ndarray, first_row: int) -> None:
    wrong = np.flatnonzero((labels != 0) & (labels != 1))
    if wrong.size:
        row, value = first_row + int(wrong[0]), labels[wrong[0]]
        raise DataFileError(f"row {row} of the dataset, label: got {value:g}; expected 0 or 1")


def _not_finite(answer: Columns) -> int:
    """Rows with an output that is NaN or infinite. answer: {output name: [n, …]}."""
    finite = [np.isfinite(values).reshape(len(values), -1).all(axis=1) for values in answer.values()]
    return int((~np.logical_and.reduce(finite)).sum())


def _metrics(labels: np.ndarray, scores: np.ndarray, are_logits: bool) -> tuple[float | None, float]:
    auc = roc_auc(labels, scores)
    loss = log_loss_of_logits(labels, scores) if are_logits else log_loss_of_probabilities(labels, scores)
    return None if np.isnan(auc) else auc, loss
