"""locust with its web page, on the version that the server serves now: `python locust_web.py <gRPC address> <model>
<model repository> [locust's own arguments]`. The page's port is 8089.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import perf
from perf.served import find_served


def main() -> None:
    url, model, repository, *more = sys.argv[1:]
    served = find_served(url, model, "", Path(repository))
    locustfile = Path(perf.__file__).with_name("locustfile.py")
    command = ["locust", "-f", str(locustfile), "--host", url, "--model", model]
    command += ["--feature_spec", str(served.spec_file), *more]
    os.execvp(command[0], command)  # noqa: S606 - the same process, so that signals reach locust


if __name__ == "__main__":
    main()
