"""Two nodes on one machine: network namespaces that are joined by one link and reach nothing else.

horovodrun starts remote processes with ssh; a script of that name starts them in the other namespace. It and the
nodes' host names are all that differs from two machines with a shared file system.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.training.options import SMALLEST
from training.checkpoint import open_checkpoint

ROOT = Path(__file__).parents[2]
HOROVODRUN = Path(sys.executable).with_name("horovodrun")
LONGEST_LOSS_S = 60
# 198.18.0.0/15 is for tests of networks (RFC 2544); these addresses exist inside of the namespaces only
ADDRESSES = {"a": "198.18.77.1", "b": "198.18.77.2"}
# `on NODE COMMAND…`. A node's name has to lead to its address, also on itself: Horovod binds to what it finds there.
ON = """#!/bin/sh
node=$1
shift
exec ip netns exec "PREFIX$node" unshare --uts --mount sh -c \\
    'hostname "$0" && mount --bind FOLDER/hosts /etc/hosts && exec "$@"' "$node" "$@"
"""
# What horovodrun needs of ssh: options with or without a value, a host, more options, the command for a shell there.
SSH = """#!/bin/sh
host=
while [ $# -gt 0 ]; do
    case "$1" in
        -o|-p|-i) shift ;;
        -*) ;;
        *) [ -z "$host" ] || break; host=$1 ;;
    esac
    shift
done
exec FOLDER/on "$host" sh -c "$*"
"""


@dataclass(frozen=True)
class Nodes:
    folder: Path
    prefix: str

    def pids(self, node: str, word: str = "") -> list[int]:
        """Processes of a node that have this word among their arguments, or all."""
        found = []
        for pid in _ip("netns", "pids", self.prefix + node).split():
            with suppress(OSError):
                if not word or word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    found.append(int(pid))
        return found

    def kill_the_rank_of_b(self) -> None:
        for pid in self.pids("b", str(sys.executable)):
            os.kill(pid, signal.SIGKILL)

    def cut_the_link(self) -> None:
        """Packets are lost without a word, as when a node loses power."""
        _ip("-n", f"{self.prefix}b", "link", "set", "eth0", "down")

    @contextmanager
    def training(self, dataset: Path, folder: Path, epochs: int) -> Iterator[subprocess.Popen[str]]:
        command = [
            str(self.folder / "on"), "a", str(HOROVODRUN), "-np", "2", "-H", "a:1,b:1", "--gloo", "--disable-cache",
            "--network-interfaces", "eth0", sys.executable, "-m", "training", "--dataset_dir", str(dataset),
            "--seed", "1", *SMALLEST, "--global_batch_size", "64", "--epochs", str(epochs),
            "--save_checkpoint_path", str(folder / "ck"), "--results_dir", str(folder / "results"),
        ]  # fmt: skip
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": f"{self.folder}:{os.environ['PATH']}"}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT
        ) as run:
            try:
                yield run
            finally:
                for pid in [*self.pids("a"), *self.pids("b")]:
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    made = Nodes(tmp_path, f"recserve-{os.getpid()}-")
    namespaces = {node: made.prefix + node for node in ADDRESSES}
    hosts = "".join(f"{address} {node}\n" for node, address in ADDRESSES.items())
    (tmp_path / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
    for name, script in (("on", ON), ("ssh", SSH)):
        (tmp_path / name).write_text(script.replace("FOLDER", str(tmp_path)).replace("PREFIX", made.prefix))
        (tmp_path / name).chmod(0o755)
    try:
        try:
            for name in namespaces.values():
                _ip("netns", "add", name)
            ends = [("netns", name, "type", "veth") for name in namespaces.values()]
            _ip("link", "add", "eth0", *ends[0], "peer", "name", "eth0", *ends[1][:2])
            for node, name in namespaces.items():
                _ip("-n", name, "address", "add", f"{ADDRESSES[node]}/30", "dev", "eth0")
                _ip("-n", name, "link", "set", "eth0", "up")
                _ip("-n", name, "link", "set", "lo", "up")
            subprocess.run([tmp_path / "on", "a", "true"], check=True, capture_output=True, text=True)
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            pytest.skip(f"network namespaces are not allowed here: {getattr(error, 'stderr', error)}")
        yield made
    finally:
        for name in namespaces.values():
            with suppress(subprocess.CalledProcessError, FileNotFoundError):
                _ip("netns", "delete", name)


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_two_nodes_train(nodes: Nodes, tiny_dataset: Path, tmp_path: Path) -> None:
    with nodes.training(tiny_dataset, tmp_path, epochs=2) as run:
        output, _ = run.communicate(timeout=120)
    assert run.returncode == 0, output
    metrics = open_checkpoint(tmp_path / "ck").metrics
    assert (metrics["processes"], metrics["epoch"]) == (2, 2)
    assert metrics["rows"] == {"train": 600, "test": 200}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lose", "message"),
    [
        (Nodes.kill_the_rank_of_b, "Process 1 exit with status code 137"),
        (Nodes.cut_the_link, "another process ended or cannot be reached"),
    ],
    ids=["rank_killed", "link_cut"],
)
def test_a_lost_node_ends_the_run_in_bounded_time(
    nodes: Nodes, tiny_dataset: Path, tmp_path: Path, lose: Callable[[Nodes], None], message: str
) -> None:
    with nodes.training(tiny_dataset, tmp_path, epochs=100000) as run:
        end = time.monotonic() + 120
        while not (tmp_path / "ck" / "epoch-0001").exists():
            assert run.poll() is None and time.monotonic() < end, "no first epoch"
            time.sleep(0.2)
        lose(nodes)
        start = time.monotonic()
        output, _ = run.communicate(timeout=2 * LONGEST_LOSS_S)
        seconds = time.monotonic() - start
        assert not nodes.pids("b", str(sys.executable)), "the other node's process has ended as well"
    assert run.returncode != 0
    assert message in output
    assert seconds < LONGEST_LOSS_S
