"""An output folder appears whole or not at all, and nothing that is not ours is ever deleted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from training.errors import DataError

MARKER = ".recserve"  # hidden file in every folder that we wrote: which command, and its entries


@contextmanager
def staged_folder(output: Path, kind: str, inputs: Sequence[Path] = ()) -> Iterator[Path]:
    """Yields an empty folder beside `output`; when the block ends well it takes the place of `output`.

    kind: the command that writes it. An earlier output of the same kind is replaced. inputs: folders that must
    outlive the run. Raises DataError, before any work, if `output` holds anything that is not ours to delete.
    """
    output = output.resolve()
    _check_replaceable(output, kind)
    _check_inputs_survive(output, inputs)
    output.parent.mkdir(parents=True, exist_ok=True)
    staging = output.with_name(f".{output.name}.{os.getpid()}.partial")
    shutil.rmtree(staging, ignore_errors=True)  # of a killed process that had our number
    staging.mkdir()
    try:
        with _sigterm_unwinds(), _disk_errors_explained(output):
            yield staging
            entries = sorted(p.name for p in staging.iterdir())
            (staging / MARKER).write_text(json.dumps({"kind": kind, "entries": entries}), encoding="utf-8")
            _check_replaceable(output, kind)  # it may have changed meanwhile
            _publish(staging, output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check_replaceable(output: Path, kind: str) -> None:
    if not output.exists():
        return
    if not output.is_dir():
        raise DataError(f"output {output}: there is a file of this name. Name a folder.")
    present = {p.name for p in output.iterdir()} - {MARKER}
    if not present:
        return
    written_kind, entries = _read_marker(output / MARKER)
    if written_kind is None:
        raise DataError(f"output {output}: not empty, and not written by recserve. Remove it or name another folder.")
    if written_kind != kind:
        raise DataError(
            f"output {output}: holds the output of `recserve {written_kind}`, not of `recserve {kind}`. "
            "Remove it or name another folder."
        )
    foreign = sorted(present - entries)
    if foreign:
        raise DataError(
            f"output {output}: holds files that recserve did not write: {', '.join(foreign[:5])}. "
            "Move them away or name another folder."
        )


def _read_marker(path: Path) -> tuple[str | None, set[str]]:
    try:
        marker = json.loads(path.read_text(encoding="utf-8"))
        return str(marker["kind"]), set(marker["entries"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, set()


def _check_inputs_survive(output: Path, inputs: Sequence[Path]) -> None:
    for path in inputs:
        if path.resolve() == output or path.resolve().is_relative_to(output):
            raise DataError(f"output {output}: it would replace the input {path}. Name another folder.")


def _publish(staging: Path, output: Path) -> None:
    if not output.exists():
        staging.rename(output)
        return
    earlier = output.with_name(f".{output.name}.{os.getpid()}.earlier")
    output.rename(earlier)
    try:
        staging.rename(output)
    except OSError:
        earlier.rename(output)
        raise
    shutil.rmtree(earlier, ignore_errors=True)


@contextmanager
def _disk_errors_explained(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"output {output}: could not be written: {error}. Nothing was left behind.") from error


@contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does, so that the staging folder is removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
