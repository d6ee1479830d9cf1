"""Numbered lines of plain or gzip files, and the account of those that could not be used."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

from training.errors import DataError

SHOWN_PER_FILE = 10

Parsed = TypeVar("Parsed")


class UnusableLine(ValueError):
    """A line that cannot be used; the message is the reason."""


@dataclass
class FileAccount:
    """What was read from one file. malformed: lines left out; examples: (line number from 1, reason), the first few."""

    path: Path
    lines: int = 0
    malformed: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)

    def add_malformed(self, line: int, reason: str) -> None:
        self.malformed += 1
        if len(self.examples) < SHOWN_PER_FILE:
            self.examples.append((line, reason))

    def describe(self) -> list[str]:
        """One line per example, and how many more there are."""
        shown = [f"{self.path}, line {line}: {reason}" for line, reason in self.examples]
        more = self.malformed - len(self.examples)
        return [*shown, f"{self.path}: {more:,} more malformed lines"] if more > 0 else shown

    def check_share(self, max_share: float) -> None:
        """Raises DataError if more than max_share (0..1) of the lines were malformed, or if there were none at all."""
        if self.lines == 0:
            raise DataError(f"{self.path}: no lines. Is it the right file, and was it downloaded whole?")
        if self.malformed > max_share * self.lines:
            raise DataError(
                f"{self.path}: {self.malformed:,} of {self.lines:,} lines are malformed "
                f"({self.malformed / self.lines:.2%}), at most {max_share:.2%} may be. Repair the file, or raise "
                "--max_malformed_share.\n" + "\n".join(f"  {text}" for text in self.describe())
            )


def parsed_lines(path: Path, parse: Callable[[bytes], Parsed], account: FileAccount) -> Iterator[tuple[int, Parsed]]:
    """(line number from 1, what `parse` made of it) of each usable line; blank lines are passed over.

    Lines for which `parse` raises UnusableLine, and an end that cannot be decompressed, go to the account.
    """
    number = 0
    with _open(path) as stream:
        lines = iter(stream)
        while True:
            try:
                line = next(lines, None)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                account.lines += 1
                account.add_malformed(number + 1, f"the gzip file is truncated or damaged from here on: {error}")
                return
            if line is None:
                return
            number += 1
            if line.isspace():
                continue
            account.lines += 1
            try:
                parsed = parse(line)
            except UnusableLine as error:
                account.add_malformed(number, str(error))
                continue
            yield number, parsed


def _open(path: Path) -> BinaryIO:
    try:
        return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
