"""Errors of publishing that a user can solve. `kind`: one word for metrics and the log."""

from __future__ import annotations

import shutil


class DeployError(Exception):
    """Base of this room's errors. `user_facing`: the command line shows it without a traceback."""

    user_facing = True
    kind = "error"


class SettingError(DeployError):
    """An option that does not fit, or a folder that cannot be used."""

    kind = "setting"


class ServerDown(DeployError):
    """Nobody answers, or too late. Says nothing about a version: worth a retry."""

    kind = "server_down"


class ServerRefused(DeployError):
    """The server answers a question with an error, as a proxy or another program may. Says nothing about a version."""

    kind = "server_refused"


class LoadRefused(DeployError):
    """Triton does not load a version. The one before goes on serving."""

    kind = "load_refused"


class VerificationFailed(DeployError):
    """A loaded version does not give the scores that it should give."""

    kind = "verification_failed"


class StageFailed(DeployError):
    """Training, evaluation or export ended with an error."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.kind = f"{stage}_failed"


class DatasetRefused(DeployError):
    """A dataset that cannot be used as it is."""

    kind = "dataset_refused"


class PublishFailed(DeployError):
    """The files of a version could not be written; nothing partial is left."""

    kind = "publish_failed"

    def __init__(self, what: str, error: Exception) -> None:
        copies = error.args[0] if isinstance(error, shutil.Error) and error.args else None
        reason = copies[0][2] if isinstance(copies, list) and copies else error  # of many files: the first one's
        super().__init__(f"{what} could not be written: {reason}. Free space and publish again; nothing was left.")
