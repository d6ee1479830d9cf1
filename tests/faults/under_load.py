"""Publishes and rollbacks under steady load: no request fails, and each is answered by exactly one version."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deploy.connection import Connection
from deploy.exported import Exported
from deploy.held_set import HeldSet
from deploy.patience import Patience
from deploy.publication import Publisher
from deploy.server_admin import ServerAdmin
from tests.faults.datasets import ROOT
from tests.faults.load import RANK_ROWS, ROWS
from tests.faults.world import SteadyLoad, World, held_inputs, require

TOLERANCE = 1e-5  # of a logit; answers of two versions differ by far more
Span = tuple[float, float]


def publishes_under_load(
    world: World, sources: Sequence[int], publishes: int, rollbacks: int, rate: float, steady_s: float
) -> dict[str, Any]:
    """Publishes copies of the versions `sources` in turn, and rolls back after some of them."""
    exports = [_copied_out(world, version) for version in sources]
    logits = _scored_without_a_server(world, sources, exports)
    kinds = {version: version for version in sources}
    live = world.live()
    require(live in kinds, f"version {live} is live; expected one of {list(sources)}")
    spans: list[Span] = []
    rolled_back: list[Span] = []
    with ServerAdmin(Connection(world.url)) as admin, SteadyLoad(world, rate) as load:
        publisher = Publisher(world.repository, "sim", Connection(world.url), admin, Patience(10.0))
        time.sleep(2.0)  # the first requests warm the server up
        begin = time.time()
        time.sleep(steady_s)
        rest_s = max(1.0, steady_s / 10)
        every = max(1, publishes // rollbacks) if rollbacks else publishes + 1
        for number in range(publishes):
            source = number % len(exports)
            if world.live() is not None and kinds[world.live() or 0] == sources[source]:
                source = (source + 1) % len(exports)
            started = time.time()
            version, _ = publisher.publish(exports[source], "trial", {})
            spans.append((started, time.time()))
            kinds[version] = sources[source]
            time.sleep(rest_s)
            if (number + 1) % every == 0 and len(rolled_back) < rollbacks:
                started = time.time()
                publisher.roll_back()
                rolled_back.append((started, time.time()))
                time.sleep(rest_s)
        publisher.prune(3)
        answers = load.stop()
    figures = _figures(answers, spans, rolled_back, begin)
    figures["wrong_answers"] = _wrong(answers, kinds, logits)
    figures["versions_that_answered"] = len(set(answers["version"].tolist()))
    require(figures["failed"] == 0, f"{figures['failed']} requests failed, such as: {figures['first_error']}")
    require(figures["wrong_answers"] == 0, f"{figures['wrong_answers']} answers are not those of the version they name")
    return figures


def check_answers(world: World, answers: Mapping[str, np.ndarray], before: Mapping[int, HeldSet]) -> int:
    """Answers that are not those of the version that they name. before: held sets of versions that may be gone."""
    logits = {version: _rows(held) for version, held in before.items()}
    return _wrong(answers, {version: version for version in logits}, logits)


def _figures(
    answers: Mapping[str, np.ndarray], spans: Sequence[Span], rolled_back: Sequence[Span], begin: float
) -> dict[str, Any]:
    due, latency_ms = answers["due"], answers["seconds"] * 1e3
    failed = answers["error"] != ""
    during = _inside(due, spans)
    back = _inside(due, rolled_back)
    without = (due >= begin) & ~during & ~back
    p99 = {
        name: float(np.percentile(latency_ms[which], 99)) for name, which in (("with", during), ("without", without))
    }
    seconds = float(due.max() - due.min())
    return {
        "publishes": len(spans),
        "rollbacks": len(rolled_back),
        "requests": int(answers["sent"]),
        "unanswered": int(answers["sent"]) - len(due),
        "failed": int(failed.sum()) + int(answers["sent"]) - len(due),
        "first_error": str(answers["error"][failed][0]) if failed.any() else "",
        "requests_per_s": round(len(due) / seconds, 1),
        "p50_ms": round(float(np.percentile(latency_ms[without], 50)), 2),
        "p99_ms": round(p99["without"], 2),
        "p99_publishing_ms": round(p99["with"], 2),
        "p99_rolling_back_ms": round(float(np.percentile(latency_ms[back], 99)), 2) if back.any() else None,
        "max_publishing_ms": round(float(latency_ms[during].max()), 2),
        "p99_ratio": round(p99["with"] / p99["without"], 2),
        "publish_s": round(float(np.median([end - start for start, end in spans])), 2),
    }


def _inside(due: np.ndarray, spans: Sequence[Span]) -> np.ndarray:
    """Requests of that time and the half second after it, when the old version is unloaded."""
    inside = np.zeros(len(due), bool)
    for start, end in spans:
        inside |= (due >= start) & (due <= end + 0.5)
    return inside


def _wrong(answers: Mapping[str, np.ndarray], kinds: Mapping[int, int], logits: Mapping[int, np.ndarray]) -> int:
    answered = answers["error"] == ""
    wrong = 0
    for version, request, score in zip(
        answers["version"][answered], answers["request"][answered], answers["score"][answered], strict=True
    ):
        kind = kinds.get(int(version))
        wrong += kind is None or not abs(score - logits[kind][request]) <= TOLERANCE
    return wrong


def _copied_out(world: World, version: int) -> Exported:
    """A version of the repository as an export of its own, which pruning does not take away."""
    found = Exported.of_version(world.repository, "sim", version)
    target = world.work / "exports" / str(version)
    if not target.is_dir():
        for name, folder in found.folders.items():
            shutil.copytree(folder, target / name / "1")
    return Exported({name: target / name / "1" for name in found.folders})


def _scored_without_a_server(
    world: World, sources: Sequence[int], exports: Sequence[Exported]
) -> dict[int, np.ndarray]:
    """{version: logits of the rows that the load sends}, by TensorFlow from the SavedModels on the disk."""
    rows = held_inputs(world.repository / "sim" / str(world.live()), ROWS)
    folder = world.work / "expected"
    folder.mkdir(exist_ok=True)
    np.savez(folder / "rows.npz", **rows)
    models = [str(export.folders["sim"] / "model.savedmodel") for export in exports]
    command = [sys.executable, "-m", "tests.faults.expected", str(folder), *models]
    subprocess.run(command, cwd=ROOT, check=True, timeout=600, capture_output=True)
    with np.load(folder / "logits.npz", allow_pickle=False) as arrays:
        found = [arrays[f"arr_{number}"] for number in range(len(models))]
    require(np.median(np.abs(found[0] - found[-1])) > 100 * TOLERANCE, "the versions to publish answer too much alike")
    return {version: np.concatenate([x, x[:RANK_ROWS]]) for version, x in zip(sources, found, strict=True)}


def _rows(held: HeldSet) -> np.ndarray:
    """As the load generator sends them: rows, then the first of them as ranking requests."""
    return np.concatenate([held.logit[:ROWS], held.logit[:RANK_ROWS]])


def held_sets(world: World) -> dict[int, HeldSet]:
    found = {}
    for folder in sorted((world.repository / "sim").iterdir()):
        if not re.fullmatch(r"(\.rejected-)?\d+", folder.name):
            continue
        held = HeldSet.load(folder)
        if held is not None:
            found[int(folder.name.removeprefix(".rejected-"))] = held
    return found
