"""A server that is down says nothing about a version: try again, for as long as was agreed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from deploy.errors import LoadRefused, ServerDown

Answer = TypeVar("Answer")
LOSSES = 3


def _nothing(_: str) -> None: ...


@dataclass(frozen=True)
class Patience:
    """Waits of first_wait_s, doubled up to longest_wait_s. timeout_s: in all; None: for ever.

    on_wait: told the reason before each wait.
    """

    timeout_s: float | None = None
    first_wait_s: float = 0.5
    longest_wait_s: float = 10.0
    on_wait: Callable[[str], None] = _nothing
    sleep: Callable[[float], None] = time.sleep

    def call_with_version(self, action: Callable[[], Answer], is_up: Callable[[], bool]) -> Answer:
        """As `call`, for an action that makes the server load a version. is_up: whether it answers.

        Raises LoadRefused if the server, up before, went down LOSSES times meanwhile: then it is the version's fault.
        """
        losses = 0

        def watched() -> Answer:
            nonlocal losses
            was_up = is_up()
            try:
                return action()
            except ServerDown as error:
                if was_up and not is_up():  # rather than too busy for an answer
                    losses += 1
                if losses == LOSSES:
                    raise LoadRefused(f"the server went down {LOSSES} times while it loaded this version") from error
                raise

        return self.call(watched)

    def call(self, action: Callable[[], Answer]) -> Answer:
        """Calls the action until the server answers. Raises the last ServerDown when the time is up."""
        began, wait = time.monotonic(), self.first_wait_s
        while True:
            try:
                return action()
            except ServerDown as error:
                if self.timeout_s is not None and time.monotonic() - began + wait > self.timeout_s:
                    raise
                self.on_wait(str(error))
                self.sleep(wait)
                wait = min(2 * wait, self.longest_wait_s)
