"""The runs of a report: where their files are, and what they are called."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.metrics import roc_auc
from training.report.errors import ReportError
from training.report.log_file import PREFIX, RunLog, read_log
from training.report.score_file import FILE_NAME, TestScores, read_scores

LOG_NAME = "log.json"
SAME_AUC = 1e-5


@dataclass(frozen=True)
class Run:
    """scores: None if the run wrote none, or none that can be used; then a remark says why."""

    name: str
    log_path: Path
    log: RunLog
    scores: TestScores | None
    remarks: tuple[str, ...]

    @property
    def model(self) -> str:
        return str(self.log.parameters.get("model_type", "-"))


def load_runs(paths: Sequence[Path], names: Sequence[str] | None = None) -> list[Run]:
    """Reads results folders or log files. names: one for each, by default those of the folders.

    Raises ReportError for a path without a log, a log without a single figure, or names that do not fit.
    """
    logs = [find_log(path) for path in paths]
    names = _given_names(names, logs) if names else _own_names(logs)
    return [_load(log, name) for log, name in zip(logs, names, strict=True)]


def find_log(path: Path) -> Path:
    """The log itself, or the one in a results folder: log.json, or the only *.json with DLLogger lines."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise ReportError(f"{path}: there is no such folder or file; expected a run's results_dir or its log")
    if (path / LOG_NAME).is_file():
        return path / LOG_NAME
    logs = [file for file in sorted(path.glob("*.json")) if _begins_like_a_log(file)]
    if len(logs) != 1:
        found = f"{len(logs)} logs of other names: {', '.join(f.name for f in logs)}" if logs else "no other log"
        raise ReportError(f"{path}: there is no {LOG_NAME}, and {found}; name the run's log file itself")
    return logs[0]


def _begins_like_a_log(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(PREFIX)) == PREFIX.encode()


def _given_names(names: Sequence[str], logs: Sequence[Path]) -> list[str]:
    if len(names) != len(logs):
        raise ReportError(f"names: expected one for each of the {len(logs)} runs, got {len(names)}: {', '.join(names)}")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or not all(names):
        raise ReportError(f"names: expected different names for the runs, got {', '.join(map(repr, names))}")
    return list(names)


def _own_names(logs: Sequence[Path]) -> list[str]:
    """As much of each path's end as it takes to tell the folders apart; a number after what is given twice."""
    folders = [log.absolute().parent for log in logs]
    depth = 1
    while depth < max(len(f.parts) for f in folders) and len({f.parts[-depth:] for f in folders}) < len(set(folders)):
        depth += 1
    names = ["/".join(folder.parts[-depth:]) for folder in folders]
    if len(set(folders)) < len(set(logs)):
        names = [f"{name}/{log.stem}" for name, log in zip(names, logs, strict=True)]
    seen: Counter[str] = Counter()
    for index, name in enumerate(names):
        seen[name] += 1
        if seen[name] > 1:
            names[index] = f"{name} ({seen[name]})"
    return names


def _load(log_path: Path, name: str) -> Run:
    log = read_log(log_path)
    if log.is_empty:
        detail = f" ({'; '.join(log.remarks)})" if log.remarks else ""
        raise ReportError(
            f"{log_path}: holds no step, epoch or summary line{detail}. The run has not got to its first step, or this "
            "is not a DLLogger file; leave it out."
        )
    remarks = list(log.remarks)
    if not log.finished:
        remarks.append("there is no summary line: the run still goes on, or it was stopped; its figures are not final")
    try:
        scores = _own_scores(log_path.with_name(FILE_NAME), log)
    except ReportError as error:
        scores = None
        remarks.append(f"{error}; left out")
    return Run(name, log_path, log, scores, tuple(remarks))


def _own_scores(path: Path, log: RunLog) -> TestScores | None:
    """The scores beside a log, None if there are none. Raises ReportError if they cannot be this run's.

    An earlier run in the same folder may have left them: they are this run's if it logged their AUC.
    """
    if not path.exists():
        return None
    scores = read_scores(path)
    auc = roc_auc(scores.label, scores.logit)
    logged = [e["test_auc"] for e in (*log.epochs.values(), log.summary) if math.isfinite(e.get("test_auc", math.nan))]
    if math.isnan(auc):
        raise ReportError(f"{FILE_NAME} holds rows of one class only, so there is no ROC curve")
    if not any(abs(auc - other) <= SAME_AUC for other in logged):
        what = f"the last it has is {logged[-1]:.6f}" if logged else "it has none"
        raise ReportError(
            f"{FILE_NAME} gives a test AUC of {auc:.6f} that the log has not ({what}): another run's file"
        )
    return scores
