"""What the side-car does, on record: the journal before each step, log and metrics after each decision."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from deploy.decisions import DecisionLog
from deploy.sidecar.journal import Journal, Outcome, Work
from deploy.sidecar.metrics import Metrics
from deploy.sidecar.settings import SidecarSettings


class Record:
    """say: messages for people. sleep: how to wait."""

    def __init__(
        self, settings: SidecarSettings, metrics: Metrics, say: Callable[[str], None], sleep: Callable[[float], None]
    ) -> None:
        self._state, self._log = settings.state, DecisionLog(settings.log_file)
        self.metrics, self.say, self._sleep = metrics, say, sleep
        self._journal = Journal.load(settings.state)
        self._in_the_way = ""

    @property
    def work(self) -> Work | None:
        """The dataset at work."""
        return self._journal.work

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """{fingerprint: what became of the dataset}"""
        return self._journal.outcomes

    def begin(self, work: Work) -> None:
        self._journal.work = work
        self._save()

    def note(self, phase: str, version: int | None = None, previous: int | None = None, reason: str = "") -> None:
        """A step of publishing that is about to be taken."""
        self.show_phase(phase)
        if self._journal.work is not None:
            self._journal.work = replace(
                self._journal.work, phase=phase, version=version, previous=previous, reason=reason
            )
            self._save()

    @contextmanager
    def stage(self, phase: str) -> Iterator[None]:
        """A step that can be taken again from its start."""
        self.note(phase)
        began = time.monotonic()
        yield
        self.metrics.set("stage_duration_seconds", time.monotonic() - began, stage=phase)

    def conclude(self, decision: str, reason: str, kind: str, version: int | None, **facts: Any) -> None:
        """The end of the work: remembered first, then told."""
        work = self._journal.work
        if work is None:
            return
        self._journal.outcomes[work.fingerprint] = Outcome(decision, reason, version, work.dataset, time.time())
        self._journal.work = None
        self._save()
        self.decided(decision, reason, kind, version=version, dataset=work.dataset, **facts)

    def decided(self, decision: str, reason: str, kind: str, **facts: Any) -> None:
        """A DLLogger line, a count, and a message."""
        self.metrics.count("decisions_total", decision=decision, reason=kind)
        self._log.record(decision, kind=kind, reason=reason, **facts)
        what = f"version {facts['version']}" if facts.get("version") else str(facts.get("dataset", ""))
        self.say(f"{decision} {what}: {reason}")

    def show_phase(self, phase: str) -> None:
        self.metrics.only("phase", phase=phase)
        self.metrics.tick()

    def server_is_up(self) -> None:
        self.metrics.set("server_up", 1)

    def server_is_down(self, reason: str) -> None:
        if self.metrics.value("server_up") != 0:
            self.say(f"waiting for the server: {reason}")
        self.metrics.set("server_up", 0)

    def waits(self, reason: str) -> None:
        """For something that a person must put right; told once. Empty: nothing is in the way."""
        if reason and reason != self._in_the_way:
            self.say(f"waiting: {reason}")
        self._in_the_way = reason

    def wait(self, seconds: float) -> None:
        self.metrics.tick()
        self._sleep(seconds)

    def _save(self) -> None:
        """Nothing goes on before it is on record; a full disk is waited for."""
        wait_s = 1.0
        while True:
            try:
                self._journal.save()
                return
            except OSError as error:
                self.say(f"state_dir: cannot write {self._state}: {error.strerror}. Free space; waiting.")
                self.wait(wait_s)
                wait_s = min(2 * wait_s, 30.0)
