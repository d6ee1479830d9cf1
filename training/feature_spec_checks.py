"""The rules that a feature specification must keep. Every rule reports; none stops at the first mistake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.located_yaml import LocatedYaml, Place

CHUNK_TYPES = ("tfrecord", "parquet", "csv", "split_binary")
SECTIONS = ("feature_spec", "source_spec", "channel_spec", "metadata")
REQUIRED_SECTIONS = SECTIONS[:3]
DTYPE_NAMES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
)  # fmt: skip


@dataclass(frozen=True)
class Problem:
    place: Place
    message: str

    def describe(self, document: LocatedYaml) -> str:
        return f"{document.describe(self.place)}: {self.message}"


def parse_dtype(name: str) -> np.dtype:
    """`int64` and `torch.int64` mean the same. Raises ValueError for anything not in DTYPE_NAMES."""
    bare = name.removeprefix("torch.") if isinstance(name, str) else name
    if bare not in DTYPE_NAMES:
        raise ValueError(f"unknown dtype {name!r}; expected one of {', '.join(DTYPE_NAMES)}, or torch.<one of these>")
    return np.dtype(bare)


def check_raw_spec(raw: Any, base_dir: Path) -> list[Problem]:
    """All mistakes of the parsed YAML, in the order of the file's sections."""
    if not isinstance(raw, Mapping):
        return [Problem((), f"expected a mapping with the sections {', '.join(SECTIONS)}, got {_kind(raw)}")]
    problems = list(_check_sections(raw))
    features = _section(raw, "feature_spec")
    problems += [p for name, meta in features.items() for p in _check_feature(name, meta)]
    for mapping, chunks in _section(raw, "source_spec").items():
        problems += _check_mapping(mapping, chunks, features, base_dir)
    for channel, members in _section(raw, "channel_spec").items():
        problems += _check_names(("channel_spec", channel), members, features, may_be_empty=True)
    return problems


def check_source_files(raw: Any, base_dir: Path) -> list[Problem]:
    """Files that are named by a mapping but are not there; what is not well-formed is check_raw_spec's to report."""
    problems = []
    for mapping, chunks in _section(raw, "source_spec").items() if isinstance(raw, Mapping) else ():
        for c, chunk in enumerate(chunks if isinstance(chunks, list) else ()):
            files = chunk.get("files") if isinstance(chunk, Mapping) else None
            for f, file in enumerate(files if isinstance(files, list) else ()):
                if isinstance(file, str) and _stays_inside(base_dir, file) and not (base_dir / file).is_file():
                    place: Place = ("source_spec", mapping, c, "files", f)
                    problems.append(Problem(place, f"no such file: {base_dir / file}. Restore it or fix the path."))
    return problems


def _kind(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__


def _section(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = raw.get(name)
    return section if isinstance(section, Mapping) else {}


def _check_sections(raw: Mapping[str, Any]) -> Iterator[Problem]:
    for name in raw:
        if name not in SECTIONS:
            yield Problem((name,), f"unknown section; the sections are {', '.join(SECTIONS)}")
    for name in REQUIRED_SECTIONS:
        if name not in raw:
            yield Problem((name,), "this section is missing")
        elif not isinstance(raw[name], Mapping) or not raw[name]:
            yield Problem((name,), f"expected a non-empty mapping, got {_kind(raw[name]) if raw[name] else 'nothing'}")
    if raw.get("metadata") is not None and not isinstance(raw["metadata"], Mapping):
        yield Problem(("metadata",), f"expected a mapping, got {_kind(raw['metadata'])}")


def _check_feature(name: Any, meta: Any) -> Iterator[Problem]:
    place: Place = ("feature_spec", name)
    if not isinstance(name, str) or not name:
        yield Problem(place, f"a feature's name must be a string, got {name!r}")
        return
    if not isinstance(meta, Mapping):
        yield Problem(place, f"expected a mapping with dtype and perhaps cardinality, dimensions; got {_kind(meta)}")
        return
    if "dtype" not in meta:
        yield Problem((*place, "dtype"), "missing; every feature needs a dtype such as int64")
    else:
        try:
            parse_dtype(meta["dtype"])
        except ValueError as error:
            yield Problem((*place, "dtype"), str(error))
    yield from _check_cardinality((*place, "cardinality"), meta)
    dimensions = meta.get("dimensions")
    if dimensions is not None and not (
        isinstance(dimensions, list) and dimensions and all(_is_positive_int(d) for d in dimensions)
    ):
        yield Problem((*place, "dimensions"), f"expected a list of whole numbers of at least 1, got {dimensions!r}")


def _check_cardinality(place: Place, meta: Mapping[str, Any]) -> Iterator[Problem]:
    cardinality = meta.get("cardinality")
    if cardinality is None:
        return
    if not _is_positive_int(cardinality):
        yield Problem(place, f"expected a whole number of at least 1, got {cardinality!r}")
        return
    try:
        dtype = parse_dtype(meta.get("dtype", ""))
    except ValueError:
        return
    if dtype.kind not in "iu":
        yield Problem(place, f"ids need an integer dtype, got {dtype.name}")
    elif cardinality > np.iinfo(dtype).max:
        yield Problem(place, f"{dtype.name} reaches {np.iinfo(dtype).max}, got {cardinality}; use a wider dtype")


def _is_positive_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _check_mapping(mapping: str, chunks: Any, features: Mapping[str, Any], base_dir: Path) -> Iterator[Problem]:
    place: Place = ("source_spec", mapping)
    if not isinstance(chunks, list) or not chunks:
        yield Problem(place, f"expected a list of chunks, got {_kind(chunks) if chunks else 'nothing'}")
        return
    seen: dict[str, int] = {}
    for index, chunk in enumerate(chunks):
        where: Place = (*place, index)
        if not isinstance(chunk, Mapping):
            yield Problem(where, f"expected a mapping with type, features, files; got {_kind(chunk)}")
            continue
        for key in chunk:
            if key not in ("type", "features", "files"):
                yield Problem((*where, key), "unknown key; a chunk has type, features and files")
        if chunk.get("type") not in CHUNK_TYPES:
            yield Problem((*where, "type"), f"expected one of {', '.join(CHUNK_TYPES)}, got {chunk.get('type')!r}")
        yield from _check_names((*where, "features"), chunk.get("features"), features)
        for name in chunk.get("features") or () if isinstance(chunk.get("features"), list) else ():
            first = seen.setdefault(name, index) if isinstance(name, str) else index
            if first != index:
                yield Problem((*where, "features"), f"feature {name!r} is already in chunk [{first}] of this mapping")
        yield from _check_files((*where, "files"), chunk.get("files"), base_dir)


def _check_names(
    place: Place, names: Any, features: Mapping[str, Any], may_be_empty: bool = False
) -> Iterator[Problem]:
    """may_be_empty: `[]` is a list too. A channel without features is for the model to judge."""
    if not isinstance(names, list) or not (names or may_be_empty):
        expected = "a list of feature names" + (" ([] for none)" if may_be_empty else "")
        yield Problem(place, f"expected {expected}, got {_kind(names) if names else 'nothing'}")
        return
    for index, name in enumerate(names):
        if not isinstance(name, str) or name not in features:
            yield Problem((*place, index), f"feature {name!r} is not described in feature_spec")
        elif name in names[:index]:
            yield Problem((*place, index), f"feature {name!r} is listed twice")


def _check_files(place: Place, files: Any, base_dir: Path) -> Iterator[Problem]:
    if not isinstance(files, list) or not files:
        yield Problem(place, f"expected a list of files, got {_kind(files) if files else 'nothing'}")
        return
    for index, file in enumerate(files):
        if not isinstance(file, str) or not file:
            yield Problem((*place, index), f"expected a path, got {file!r}")
        elif not _stays_inside(base_dir, file):
            yield Problem((*place, index), f"{file!r} leaves the folder of the specification; move the file into it")


def _stays_inside(base_dir: Path, file: str) -> bool:
    root = base_dir.resolve()
    return not Path(file).is_absolute() and (root / file).resolve().is_relative_to(root)
