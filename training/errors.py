"""Errors of data, settings and checkpoints that a user can solve. `user_facing`: shown without a traceback."""


class TrainingError(Exception):
    """Base of this room's errors."""

    user_facing = True


class DataError(TrainingError, ValueError):
    """A row, file or column that does not fit the feature specification."""


class SettingsError(TrainingError, ValueError):
    """A parameter that is unknown, out of range or does not fit another one."""


class CheckpointError(TrainingError):
    """A checkpoint that is missing, damaged or of another model or dataset."""
