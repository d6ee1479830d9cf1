"""Retries within one deadline. Scoring is idempotent, so a refused request may be sent again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from client.errors import DeadlineExceeded, ServerUnavailable

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class RetryPolicy:
    """Waits of `first_wait_s`, doubled up to `longest_wait_s`, each times a random factor of 0.5 to 1.

    attempts: sends in all; 1 never retries.
    """

    attempts: int = 6
    first_wait_s: float = 0.1
    longest_wait_s: float = 2.0

    def wait_s(self, failures: int) -> float:
        """Seconds to wait after so many failures (1, 2, …). Jittered, so that clients do not come back together."""
        return min(self.longest_wait_s, self.first_wait_s * 2.0 ** (failures - 1)) * random.uniform(0.5, 1.0)


class Deadline:
    """A point in time that all requests of one call share."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def remaining_s(self) -> float:
        return self._end - time.monotonic()

    def error(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"deadline: scoring was not done after {self.seconds:g} s. Give more time (deadline_s), "
            "send fewer rows, or look at the server's load."
        )


def call_with_retries(send: Callable[[float], Answer], deadline: Deadline, policy: RetryPolicy) -> Answer:
    """send(remaining seconds) until it answers. Only ServerUnavailable is retried; other errors pass at once.

    Raises DeadlineExceeded once the deadline is over, ServerUnavailable when the attempts are used up.
    """
    failures = 0
    while True:
        remaining = deadline.remaining_s()
        if remaining <= 0:
            raise deadline.error()
        try:
            return send(remaining)
        except DeadlineExceeded as error:
            raise deadline.error() from error
        except ServerUnavailable as error:
            failures += 1
            if failures >= policy.attempts:
                raise
            wait = policy.wait_s(failures)
            if wait >= deadline.remaining_s():
                raise deadline.error() from error
            time.sleep(wait)
