"""locust with its web page, on port 8089, for the newest version in the repository:

python locust_web.py <gRPC address> <model> <model repository> [locust's own arguments]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import perf


def main() -> None:
    url, model, repository, *more = sys.argv[1:]
    versions = [int(path.parent.name) for path in Path(repository, model).glob("[0-9]*/feature_spec.yaml")]
    if not versions:
        sys.exit(f"{repository}/{model} has no version with a feature_spec.yaml; wait until one is published")
    specification = Path(repository, model, str(max(versions)), "feature_spec.yaml")
    locustfile = Path(perf.__file__).with_name("locustfile.py")
    command = ["locust", "-f", str(locustfile), "--host", url, "--model", model]
    command += ["--feature_spec", str(specification), *more]
    os.execvp(command[0], command)  # noqa: S606 - the same process, so that signals reach locust


if __name__ == "__main__":
    main()
