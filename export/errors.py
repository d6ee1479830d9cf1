"""Errors of exporting that a user can solve."""


class ExportError(Exception):
    """A checkpoint that cannot be exported, or an export that is not fit to be published."""

    user_facing = True


class RepositoryLocked(ExportError):
    """Another process publishes, rolls back or prunes."""
