"""Errors of measuring that a user can solve. `user_facing`: shown without a traceback."""


class MeasureError(Exception):
    """Base of this room's errors."""

    user_facing = True


class ToolMissing(MeasureError):
    """perf_analyzer is not installed where we look for it."""


class PointFailed(MeasureError):
    """One point of a sweep could not be measured; the others can."""
