"""Raw Amazon 2014 files: reviews as JSON lines, metadata as Python dict literals (or JSON lines)."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from training.errors import DataError
from training.preprocessing.raw_lines import FileAccount, UnusableLine, parsed_lines

NO_CATEGORY = "no_category"
INT64_LIMIT = 2**63
_decode = json.JSONDecoder().raw_decode


class Review(NamedTuple):
    """One interaction. time_s: seconds since 1970."""

    reviewer: str
    asin: str
    time_s: int


class ItemCategory(NamedTuple):
    """An item and the last category of its first path; NO_CATEGORY if it has none."""

    asin: str
    category: str


def find_raw_file(folder: Path, kind: str, name: str | None) -> Path:
    """The file `name` in the folder, or the only one called <kind>_*.json or <kind>_*.json.gz.

    kind: "reviews" or "meta". Raises DataError if there is none, or if it is not clear which.
    """
    option = f"--{'metadata' if kind == 'meta' else kind}_file_name"
    if not folder.is_dir():
        raise DataError(f"amazon_dataset_path: there is no folder {folder}")
    if name is not None:
        if not (folder / name).is_file():
            raise DataError(f"{option}: there is no file {folder / name}")
        return folder / name
    found = sorted(p for pattern in (f"{kind}_*.json", f"{kind}_*.json.gz") for p in folder.glob(pattern))
    if not found:
        raise DataError(f"{folder}: no file {kind}_*.json or {kind}_*.json.gz. Put it there, or name it with {option}.")
    if len(found) > 1:
        names = ", ".join(p.name for p in found)
        raise DataError(f"{folder}: several files match {kind}_*.json[.gz]: {names}. Name one with {option}.")
    return found[0]


def read_reviews(path: Path, account: FileAccount) -> Iterator[Review]:
    """Usable reviews in the file's order; the others go to the account."""
    for _, review in parsed_lines(path, parse_review, account):
        yield review


def read_metadata(path: Path, account: FileAccount) -> Iterator[ItemCategory]:
    """Usable metadata lines in the file's order; the others go to the account."""
    for _, item in parsed_lines(path, parse_metadata, account):
        yield item


def parse_review(line: bytes) -> Review:
    """Raises UnusableLine with the reason."""
    fields = _json(line)
    if not isinstance(fields, dict):
        raise UnusableLine(f"expected a JSON object, got {type(fields).__name__}")
    time_s = fields.get("unixReviewTime")
    if type(time_s) is not int:
        raise UnusableLine(_wrong("unixReviewTime", "a whole number of seconds", time_s))
    if not -INT64_LIMIT <= time_s < INT64_LIMIT:
        raise UnusableLine("unixReviewTime: outside 64 bits")
    return Review(_name(fields, "reviewerID"), _name(fields, "asin"), time_s)


def parse_metadata(line: bytes) -> ItemCategory:
    """Raises UnusableLine with the reason. The line is never evaluated, only read as a literal."""
    fields = _literal(line)
    if not isinstance(fields, dict):
        raise UnusableLine(f"expected a dict, got {type(fields).__name__}")
    asin = _name(fields, "asin")
    paths = fields.get("categories")
    if paths is None or paths == []:
        return ItemCategory(asin, NO_CATEGORY)
    if not isinstance(paths, list) or not isinstance(paths[0], list):
        raise UnusableLine(_wrong("categories", "a list of lists of names", paths))
    if not paths[0]:
        return ItemCategory(asin, NO_CATEGORY)
    category = paths[0][-1]
    if not isinstance(category, str) or not _encodable(category):
        raise UnusableLine(_wrong("categories", "a list of lists of names", paths))
    return ItemCategory(asin, category or NO_CATEGORY)


def _json(line: bytes) -> Any:
    try:
        text = line.decode("utf-8")
        fields, end = _decode(text)
        if text[end:].isspace() or end == len(text):
            return fields
    except (ValueError, RecursionError):
        pass  # json.loads also takes what is rare, such as a byte order mark, and says what is wrong
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UnusableLine(f"not JSON: {error}") from error


def _literal(line: bytes) -> Any:
    try:
        text = line.decode("utf-8").strip()
        if '"' not in text and "\\" not in text:
            with suppress(ValueError, RecursionError):
                # every quote then begins or ends a string, so what is JSON with the other quotes is the same literal
                return json.loads(text.replace("'", '"'))
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else str(error)
        return json.loads(text)  # true, false and null are JSON only
    except UnicodeDecodeError as error:
        raise UnusableLine(f"not UTF-8: {error}") from error
    except json.JSONDecodeError as error:
        raise UnusableLine(f"neither a Python literal ({reason}) nor JSON ({error})") from error
    except (ValueError, RecursionError, MemoryError, TypeError) as error:
        raise UnusableLine(f"not a Python literal: {error or type(error).__name__}") from error


def _name(fields: dict[str, Any], field: str) -> str:
    value = fields.get(field)
    if not isinstance(value, str) or not value or not _encodable(value):
        raise UnusableLine(_wrong(field, "a non-empty string", value))
    return value


def _encodable(text: str) -> bool:
    """False for lone surrogates, which JSON escapes can make and UTF-8 cannot hold."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _wrong(field: str, expected: str, got: Any) -> str:
    return f"{field}: expected {expected}, got {'nothing' if got is None else ascii(got)[:60]}"
