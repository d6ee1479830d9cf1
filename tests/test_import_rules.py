"""Who may import whom, read from the sources; and what must never be loaded or shadowed."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("training", "export", "serving", "client", "perf", "deploy")
ALLOWED = {
    "training": {"training"},
    "export": {"export", "training"},
    "serving": {"serving"},
    "client": {"client", "training.feature_spec"},
    "perf": {"perf", "client", "training.feature_spec"},
    # of export: the files that know the repository's folders, none of which loads TensorFlow
    "deploy": {
        "deploy",
        "client",
        "training.feature_spec",
        "training.dllogger",
        "training.flushing",
        "serving.launcher",
        "export.author",
        "export.errors",
        "export.live_version",
        "export.repository",
        "export.repository_lock",
    },
}
# the specification's own two helpers: they belong to training.feature_spec and import as little
FEATURE_SPEC_MODULES = ("feature_spec", "feature_spec_checks", "located_yaml")
STANDARD_NAMES = sys.stdlib_module_names | {"grpc", "yaml", "numpy", "locust", "rich", "requests", "gevent"}


def imported_names(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_what_they_may(room: str) -> None:
    assert sources(room)
    for path in sources(room):
        if path.name == "__main__.py":
            continue  # the way in by `python -m`, which starts the command
        ours = {n for n in imported_names(path) if n.split(".")[0] in (*ROOMS, "recserve")}
        forbidden = {n for n in ours if not any(n == a or n.startswith(f"{a}.") for a in ALLOWED[room])}
        forbidden -= {"training"} if "training.feature_spec" in ALLOWED[room] else set()
        assert not forbidden, f"{path.relative_to(ROOT)} imports {sorted(forbidden)}"


@pytest.mark.parametrize("module", FEATURE_SPEC_MODULES)
def test_feature_spec_imports_yaml_and_numpy_only(module: str) -> None:
    tops = {n.split(".")[0] for n in imported_names(ROOT / "training" / f"{module}.py")}
    assert tops <= sys.stdlib_module_names | {"yaml", "numpy", "training"}
    ours = {n for n in imported_names(ROOT / "training" / f"{module}.py") if n.startswith("training.")}
    assert {n.split(".")[1] for n in ours} <= set(FEATURE_SPEC_MODULES)


def test_only_one_file_knows_horovod() -> None:
    knows = [p for room in ROOMS for p in sources(room) if any(n.startswith("horovod") for n in imported_names(p))]
    assert [p.relative_to(ROOT).as_posix() for p in knows] == ["training/distributed.py"]


@pytest.mark.parametrize("package", ["client", "perf", "serving", "deploy"])
def test_importing_a_room_without_tensorflow_in_it_never_loads_it(package: str) -> None:
    modules = [
        ".".join(p.relative_to(ROOT).with_suffix("").parts)
        for p in sources(package)
        if p.name not in ("__init__.py", "__main__.py", "locustfile.py")
    ]
    code = f"""
import importlib, sys
for module in {modules!r}: importlib.import_module(module)
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


@pytest.mark.parametrize("package", [*ROOMS, "recserve"])
def test_our_names_are_not_shadowed(package: str) -> None:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).is_relative_to(ROOT)


def test_no_file_is_named_like_a_library() -> None:
    named = [p for room in ROOMS for p in sources(room) if p.stem in STANDARD_NAMES]
    assert not named


def test_no_unsafe_ways_in() -> None:
    for room in ROOMS:
        for path in sources(room):
            text = path.read_text()
            assert "import pickle" not in text, path
            assert "yaml.load(" not in text, path
            assert "shell=True" not in text, path
