"""What the side-car remembers: the dataset at work with its phase, and what became of the others. Survives any kill."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deploy.errors import SettingError
from training.flushing import flush

FILE_NAME = "journal.json"
LOCK_FILE = "lock"
REMEMBERED = 1000  # outcomes


@dataclass(frozen=True)
class Work:
    """A dataset at work, and how far it is.

    phase: training, gate, exporting, publish, candidate: can be taken again from the start. From `publishing` on
    a version appears: published (its files are whole), loaded, withdrawing (reason: why).
    version, previous: the new one and the one before, from then on. tries: that failed. not_before: of the next one.
    """

    dataset: str
    fingerprint: str
    phase: str = "training"
    version: int | None = None
    previous: int | None = None
    tries: int = 0
    not_before: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a dataset: published, rejected or failed. at: seconds since 1970."""

    decision: str
    reason: str
    version: int | None
    dataset: str
    at: float


@dataclass
class Journal:
    """Written whole beside its file, flushed and renamed, before each step that it describes."""

    folder: Path
    work: Work | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> Journal:
        """An empty one if there is none. Raises SettingError if it is damaged."""
        file = folder / FILE_NAME
        try:
            raw = json.loads(file.read_text(encoding="utf-8"))
            work = Work(**raw["work"]) if raw["work"] else None
            return cls(folder, work, {name: Outcome(**outcome) for name, outcome in raw["outcomes"].items()})
        except FileNotFoundError:
            return cls(folder)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SettingError(
                f"state_dir: {file} is damaged: {error!r}. Move it away; the side-car then trains on every dataset in "
                "the folder again, and publishes what is not worse."
            ) from error

    def save(self) -> None:
        """Raises OSError."""
        newest = sorted(self.outcomes.items(), key=lambda item: item[1].at)[-REMEMBERED:]
        self.outcomes = dict(newest)
        document = {"work": asdict(self.work) if self.work else None, "outcomes": {n: asdict(o) for n, o in newest}}
        staged = self.folder / f".{FILE_NAME}.tmp"
        with staged.open("w", encoding="utf-8") as stream:
            json.dump(document, stream, indent=1)
        flush(staged)
        staged.replace(self.folder / FILE_NAME)
        flush(self.folder)


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Raises SettingError if another side-car has this state. The kernel frees it when its process ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / LOCK_FILE).open("a")
    except OSError as error:
        raise SettingError(
            f"state_dir: cannot write to {folder}: {error.strerror}. Name a folder that you may write to."
        ) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingError(
                f"state_dir: {folder} is in use by another side-car. Stop it, or name another folder."
            ) from None
        yield
