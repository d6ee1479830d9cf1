"""Errors of serving that a user can solve. `user_facing`: shown without a traceback."""


class ServingError(Exception):
    """Base of this room's errors."""

    user_facing = True


class ToolsError(ServingError):
    """The server's binaries cannot be fetched, or do not run here."""


class BackendBuildError(ServingError):
    """The native backend cannot be compiled."""


class ServerError(ServingError):
    """Triton cannot be started, has died, or does not answer."""
