"""Errors of `recserve report`."""

from __future__ import annotations

from training.errors import TrainingError


class ReportError(TrainingError, ValueError):
    """A run or score file that cannot be read, runs that cannot be compared, or a report that cannot be written."""
