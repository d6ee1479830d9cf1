"""Prints what pip has to install for some extras of recserve, one requirement a line.

    python3 requirements.py <pyproject.toml> <extra>... [--without <package>]...

So the images need no list of their own: pyproject.toml says what, and requirements.lock, as pip's constraints, which
version.
Standard library only: it runs in the build stages of Dockerfile.train.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

OWN_EXTRAS = re.compile(r"recserve\[([\w,\s-]+)\]")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("pyproject", type=Path)
    parser.add_argument("extras", nargs="+")
    parser.add_argument("--without", action="append", default=[], help="package that comes from elsewhere")
    options = parser.parse_args()
    project = tomllib.loads(options.pyproject.read_text())["project"]
    unknown = set(options.extras) - set(project["optional-dependencies"])
    if unknown:
        known = ", ".join(sorted(project["optional-dependencies"]))
        print(f"no extra {', '.join(sorted(unknown))}; {options.pyproject} has {known}", file=sys.stderr)
        return 1
    wanted = [*project["dependencies"], *extras(project, options.extras)]
    for requirement in dict.fromkeys(wanted):
        if package(requirement) not in options.without:
            print(requirement)
    return 0


def extras(project: dict[str, Any], names: list[str]) -> list[str]:
    """Their requirements; an extra that is made of other extras is taken apart."""
    found: list[str] = []
    for name in names:
        for requirement in project["optional-dependencies"][name]:
            own = OWN_EXTRAS.fullmatch(requirement)
            found += extras(project, [part.strip() for part in own[1].split(",")]) if own else [requirement]
    return found


def package(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()


if __name__ == "__main__":
    sys.exit(main())
