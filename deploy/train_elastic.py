"""Keeps a training going on a list of hosts that changes: restarts it from the newest checkpoint on what is there.

    python deploy/train_elastic.py --discover ./hosts.sh --checkpoints DIR -- \
        recserve train --dataset_dir … --save_checkpoint_path DIR

`--discover` is a program that prints `host:processes` lines, as horovodrun's --host-discovery-script. A rank that is
lost ends its horovodrun within a minute; the next one starts with the hosts that are listed then. If the list changes
while it runs, the run is stopped with SIGTERM, writes a checkpoint of its step and goes on with the new list. SIGTERM
and Ctrl-C stop both. Options for horovodrun come from --horovodrun. Gives up after `--tries` runs in a row that
brought no new checkpoint.
"""

from __future__ import annotations

import argparse
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

POLL_S = 2.0
DISCOVERY_TIMEOUT_S = 30.0
HOST = re.compile(r"[^\s:,]+:[1-9]\d*")


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    tries = 0
    while True:
        hosts = _hosts(options.discover)
        if not hosts:
            _say(f"{options.discover} lists no host; waiting")
            time.sleep(POLL_S)
            continue
        before = _checkpoints(options.checkpoints)
        code = _run(_command(options, hosts, resume=bool(before)), options.discover, hosts)
        if code == 0:
            return 0
        tries = tries + 1 if _checkpoints(options.checkpoints) == before else 0
        if code is not None and tries >= options.tries:
            _say(f"{tries} runs in a row without a new checkpoint in {options.checkpoints}; giving up")
            return code


def _run(command: list[str], discover: str, hosts: list[str]) -> int | None:
    """The exit code; None if the run was stopped because the list changed. Whatever it raises, the run is over."""
    _say(shlex.join(command))
    with subprocess.Popen(command) as run:
        try:
            while (code := _code_within(run, POLL_S)) is None:
                now = _hosts(discover)
                if now and sorted(now) != sorted(hosts):
                    _say(f"hosts: {', '.join(now)} instead of {', '.join(hosts)}; stopping for a restart")
                    run.send_signal(signal.SIGTERM)
                    run.wait()
                    return None  # whatever its code: horovodrun may end with 0 after a signal
        except BaseException:
            run.send_signal(signal.SIGTERM)
            run.wait()
            raise
    _say(f"ended with exit code {code}")
    return code


def _code_within(run: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return run.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _command(options: argparse.Namespace, hosts: list[str], resume: bool) -> list[str]:
    processes = sum(int(host.rpartition(":")[2]) for host in hosts)
    launcher = ["horovodrun", "-np", str(processes), "-H", ",".join(hosts), "--gloo", "--disable-cache"]
    load = ["--load_checkpoint_path", str(options.checkpoints)] if resume else []
    return [*launcher, *shlex.split(options.horovodrun), *options.command, *load]


def _hosts(discover: str) -> list[str]:
    """What the program prints, a host without a number having one process; nothing if that is no list of hosts."""
    try:
        done = subprocess.run([discover], capture_output=True, text=True, check=True, timeout=DISCOVERY_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        _say(f"{discover} failed: {error}")
        return []
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    hosts = [line if ":" in line else f"{line}:1" for line in lines]
    wrong = [host for host in hosts if not HOST.fullmatch(host)]
    if wrong:
        _say(f"{discover} printed {wrong[0]!r}; expected host or host:processes, such as worker-1:4")
    return [] if wrong else hosts


def _checkpoints(folder: Path) -> set[tuple[str, int]]:
    """Name and time of the complete ones."""
    return {(f.name, f.stat().st_mtime_ns) for f in folder.glob("epoch-*") if f.is_dir()}


def _parse(arguments: list[str]) -> argparse.Namespace:
    summary, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--discover", required=True, help="program that prints host:processes lines")
    parser.add_argument("--checkpoints", required=True, type=Path, help="folder of the run's --save_checkpoint_path")
    parser.add_argument("--horovodrun", default="", help="further options for horovodrun, in one string")
    parser.add_argument("--tries", type=int, default=3, help="runs in a row without a new checkpoint before giving up")
    parser.add_argument("command", nargs="+", help="after --: recserve train and its options")
    return parser.parse_args(arguments)


def _say(message: str) -> None:
    print(f"train_elastic: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("train_elastic: stopped")
