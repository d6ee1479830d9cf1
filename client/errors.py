"""One tree of exceptions for scoring. Errors of the transport are mapped here once; their cause is kept."""

from __future__ import annotations


class ScoringError(Exception):
    """Base of this room's errors. `user_facing`: the command line shows it without a traceback."""

    user_facing = True


class InvalidInput(ScoringError, ValueError):
    """Inputs that do not fit the served model: found by us before sending, or by the server. Never retried."""


class DataFileError(ScoringError, ValueError):
    """A file of rows that is damaged, of an unknown format, or holds a value that does not fit the served model."""


class OutputFileError(ScoringError):
    """A place for results that cannot be written."""


class ModelNotFound(ScoringError):
    """The server has no such model or version."""


class ServerUnavailable(ScoringError):
    """Nobody answers, or the server refuses for now (full queue, model loading). Worth a retry."""


class DeadlineExceeded(ScoringError):
    """The time that the caller gave is over."""


class ServerError(ScoringError):
    """The server failed, or answered something that does not fit its own description."""
