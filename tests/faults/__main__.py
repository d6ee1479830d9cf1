"""The fault and publish trials: `python -m tests.faults`, what `make test-faults` runs. Last line: one JSON object."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.trials import TRIALS, Sizes, run_trials


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    sizes = Sizes(
        options.publishes, options.rollbacks, options.kills, options.triton_kills, options.rate, options.steady_s,
        options.users, options.seed, options.overload_s,
    )  # fmt: skip
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="recserve-faults-", dir=options.work_dir) as folder:
        results = run_trials(Path(folder), sizes, options.trials.split(","), _say)
    print(_table(results))
    failed = [name for name, result in results.items() if "error" in result]
    print(json.dumps({"passed": not failed, "seconds": round(time.monotonic() - began, 1), "trials": results}))
    return 1 if failed else 0


def _table(results: dict[str, dict]) -> str:
    lines = ["", "| trial | result | seconds | what is on record |", "|---|---|---:|---|"]
    for name, result in results.items():
        said = result.get("error") or result.get("reason") or ", ".join(
            f"{key} {value}" for key, value in result.items() if key not in ("seconds", "first_error")
        )  # fmt: skip
        outcome = "FAILED" if "error" in result else "passed"
        lines.append(f"| {name} | {outcome} | {result['seconds']:.0f} | {' '.join(str(said).split())[:200]} |")
    return "\n".join(lines)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    full = Sizes()
    parser.add_argument("--publishes", type=int, default=full.publishes, help="publishes under load")
    parser.add_argument("--rollbacks", type=int, default=full.rollbacks, help="rollbacks under load")
    parser.add_argument("--kills", type=int, default=full.kills, help="kill -9 of the side-car")
    parser.add_argument("--triton_kills", type=int, default=full.triton_kills, help="kill -9 of Triton")
    parser.add_argument("--rate", type=float, default=full.rate, help="requests a second while publishing")
    parser.add_argument(
        "--steady_s", type=float, default=full.steady_s, help="seconds of load before the first publish"
    )
    parser.add_argument("--users", type=int, default=full.users, help="users of the generated datasets")
    parser.add_argument("--seed", type=int, default=full.seed, help="of the random moments")
    parser.add_argument("--overload_s", type=float, default=full.overload_s, help="seconds of overload")
    parser.add_argument("--trials", default=",".join(TRIALS), help="which, separated by commas")
    parser.add_argument("--work_dir", type=Path, default=None, help="folder for temporary files")
    return parser.parse_args(arguments)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
