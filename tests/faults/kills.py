"""kill -9 of the side-car and of Triton, at random moments and at chosen steps."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable
from typing import Any

import psutil

from tests.faults.under_load import check_answers, held_sets
from tests.faults.world import LOOSE, SteadyLoad, World, end, require

STEPS = ("candidate", "publishing", "published", "loaded")
RATE = 50.0  # requests/s meanwhile


def kills_of_the_sidecar(world: World, kills: int, seed: int) -> dict[str, Any]:
    """Every second kill waits for a step of publishing; the others come anywhere between start and end of a cycle."""
    rng = random.Random(seed)
    kind = world.live_kind()  # so that the rows of the load are held rows of every version
    held = held_sets(world)
    phases: list[str] = []
    with SteadyLoad(world, RATE) as load:
        for number in range(kills):
            if not _is_waiting(world):
                world.datasets.arrive(world.data, kind)
            process = world.start_sidecar(*LOOSE)
            if number % 2:
                _wait_for_phase(world, process, STEPS[number // 2 % len(STEPS)], 4 * world.cycle_s)
                time.sleep(rng.uniform(0.0, 0.1))
            else:
                _wait(process, rng.uniform(0.3, world.cycle_s))
            phases.append(_phase(world))
            end(process)
            _require_no_children(world)
            held |= held_sets(world)
        if not _is_waiting(world):
            world.datasets.arrive(world.data, kind)
        world.run_sidecar(*LOOSE)
        live = world.live()
        world.require_serving(live or 0)
        held |= held_sets(world)
        answers = load.stop()
    failed = [error for error in answers["error"].tolist() if error]
    wrong = check_answers(world, answers, held)
    require(not failed, f"{len(failed)} requests failed, such as: {failed[:1]}")
    require(wrong == 0, f"{wrong} answers are not those of the version that they name")
    return {"kills": kills, "phases_when_killed": _counted(phases), "requests": len(answers["error"]), "failed": 0}


def kills_of_triton(world: World, kills: int) -> dict[str, Any]:
    """While the side-car publishes. Restarted on the same ports, it serves a version; the publish is completed."""
    phases = []
    for number in range(kills):
        before = world.live()
        step = ("candidate", "published", "training", "loaded")[number % 4]
        dataset = world.datasets.arrive(world.data)
        process = world.start_sidecar("--once", *LOOSE)
        try:
            _wait_for_phase(world, process, step, 600.0)
            phases.append(_phase(world))
            world.kill_server()
            time.sleep(1.0)
            world.start_server()
            require(process.wait(600.0) == 0, f"the side-car failed:\n{world.sidecar_tail()}")
        finally:
            end(process)
        decision = world.last_decision(dataset)
        require(decision["decision"] == "published", f"expected it to be published in the end: {decision}")
        require(world.live() != before, "the new version is not live")
        world.require_serving(world.live() or 0)
    return {"kills": kills, "phases_when_killed": _counted(phases)}


def _is_waiting(world: World) -> bool:
    journal = json.loads((world.state / "journal.json").read_text())
    datasets = [str(folder.resolve()) for folder in world.data.iterdir()]
    decided = [outcome["dataset"] for outcome in journal["outcomes"].values()]
    return bool(set(datasets) - set(decided))


def _phase(world: World) -> str:
    work = json.loads((world.state / "journal.json").read_text())["work"]
    return str(work["phase"]) if work else "idle"


def _wait_for_phase(world: World, process: subprocess.Popen[bytes], phase: str, timeout_s: float) -> None:
    """Or until it is over: some steps take a few milliseconds."""
    deadline = time.monotonic() + timeout_s
    passed: Callable[[str], bool] = lambda now: now == phase  # noqa: E731
    if phase in STEPS:
        later = STEPS[STEPS.index(phase) :]
        passed = lambda now: now in later  # noqa: E731
    seen = False
    while process.poll() is None and time.monotonic() < deadline:
        now = _phase(world)
        if passed(now) or (seen and now == "idle"):
            return
        seen = seen or now != "idle"
        time.sleep(0.002)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def _require_no_children(world: World) -> None:
    """The kernel takes trainings and exports along."""
    deadline = time.monotonic() + 30.0
    while True:
        left = [p.info["pid"] for p in psutil.process_iter(["pid", "cmdline"]) if _is_ours(p.info["cmdline"], world)]
        if not left:
            return
        require(time.monotonic() < deadline, f"processes {left} of the killed side-car go on")
        time.sleep(0.05)


def _is_ours(command: list[str] | None, world: World) -> bool:
    return bool(command) and any(str(world.state) in part for part in command or ()) and "recserve" in (command or ())


def _counted(names: list[str]) -> dict[str, int]:
    return {name: names.count(name) for name in sorted(set(names))}
