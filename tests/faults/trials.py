"""The trials in their order, over one world: what one leaves serving, the next starts from."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.repository import versions
from tests.faults import bad_versions
from tests.faults.kills import kills_of_the_sidecar, kills_of_triton
from tests.faults.overload import overload_of
from tests.faults.under_load import publishes_under_load
from tests.faults.world import LOOSE, TrialFailed, World, require, small_disk

DISK_MB = 64
P99_FACTOR = 3.0


@dataclass(frozen=True)
class Sizes:
    """rate: requests/s. steady_s: of load without publishes. users: of the generated datasets.

    overload_s: of three times the capacity.
    compare_latency: whether latencies must keep to their limits: p99 while publishing within three times that without,
    and what overload_of says.
    """

    publishes: int = 20
    rollbacks: int = 3
    kills: int = 20
    triton_kills: int = 4
    rate: float = 200.0
    steady_s: float = 20.0
    users: int = 300
    seed: int = 1
    overload_s: float = 60.0
    compare_latency: bool = True


def _publishes(world: World, sizes: Sizes, _: bool) -> dict[str, Any]:
    if len(versions(world.repository / "sim")) < 2:
        bad_versions.other_cardinalities(world)
    sources = versions(world.repository / "sim")[-2:]
    figures = publishes_under_load(world, sources, sizes.publishes, sizes.rollbacks, sizes.rate, sizes.steady_s)
    ratio = figures["p99_ratio"]
    require(
        ratio <= P99_FACTOR or not sizes.compare_latency,
        f"p99 while publishing is {ratio:.1f} times that without; expected at most {P99_FACTOR:g}: {figures}",
    )
    return figures


Trial = Callable[[World, Sizes, bool], dict[str, Any]]
TRIALS: dict[str, Trial] = {
    "other_cardinalities": lambda world, sizes, disk: bad_versions.other_cardinalities(world),
    "publishes": _publishes,
    "bad_specification": lambda world, sizes, disk: bad_versions.bad_specification(world),
    "truncated_checkpoint": lambda world, sizes, disk: bad_versions.truncated_checkpoint(world),
    "corrupt_saved_model": lambda world, sizes, disk: bad_versions.corrupt_saved_model(world),
    "nan_weights": lambda world, sizes, disk: bad_versions.nan_weights(world),
    "worse_model": lambda world, sizes, disk: bad_versions.worse_model(world),
    "disk_full": lambda world, sizes, disk: bad_versions.disk_full(world, disk),
    "rot_after_the_candidate": lambda world, sizes, disk: bad_versions.rot_after_the_candidate(world),
    "kills_of_the_sidecar": lambda world, sizes, disk: kills_of_the_sidecar(world, sizes.kills, sizes.seed),
    "kills_of_triton": lambda world, sizes, disk: kills_of_triton(world, sizes.triton_kills),
    "overload": lambda world, sizes, disk: overload_of(world, sizes.overload_s, sizes.compare_latency),
}


def run_trials(work: Path, sizes: Sizes, names: Sequence[str], say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """{trial: figures, seconds, `error` if it failed}. Raises TrialFailed if the first model is not served."""
    results: dict[str, dict[str, Any]] = {}
    unknown = [name for name in names if name not in TRIALS]
    require(not unknown, f"--trials: got {unknown}; expected some of {', '.join(TRIALS)}")
    with small_disk(work / "models", DISK_MB) as is_small_disk:
        world = World(work, sizes.users)
        try:
            began = time.monotonic()
            world.start_server()
            world.datasets.arrive(world.data)
            ready = time.monotonic()
            world.run_sidecar(*LOOSE)
            world.cycle_s = time.monotonic() - ready
            world.require_serving(1)
            say(f"a first version is served ({time.monotonic() - began:.0f} s)")
            for name in names:
                results[name] = _timed(TRIALS[name], world, sizes, is_small_disk)
                say(f"{name}: {'FAILED ' if 'error' in results[name] else ''}{results[name]}")
        finally:
            world.stop_server()
    return results


def _timed(trial: Trial, world: World, sizes: Sizes, is_small_disk: bool) -> dict[str, Any]:
    began = time.monotonic()
    try:
        result = trial(world, sizes, is_small_disk)
    except TrialFailed as error:
        result = {"error": str(error)}
    except Exception:  # the other trials are still worth running
        result = {"error": traceback.format_exc()}
    return {**result, "seconds": round(time.monotonic() - began, 1)}
