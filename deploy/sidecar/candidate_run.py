"""From a dataset to an export that may be published: train, gate, export, held set. Each stage can be taken again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from deploy.errors import DeployError
from deploy.exported import Exported
from deploy.held_set import HeldSet
from deploy.score_file import METRICS, TestScores
from deploy.sidecar.gate import judge
from deploy.sidecar.record import Record
from deploy.sidecar.served_inputs import served_inputs
from deploy.sidecar.settings import SidecarSettings
from deploy.sidecar.training_run import TrainingRun, WarmStart, options_fingerprint, warm_start
from deploy.sidecar.watch import Dataset

Manifest = dict[str, Any]


class Rejected(DeployError):
    """A model that is not good enough to be published."""

    kind = "worse_metric"


@dataclass(frozen=True)
class Gate:
    """What the gate saw. baseline: None without a live version."""

    metric: str
    value: float
    baseline: float | None
    compared_with: str
    reason: str


def prepare(
    run: TrainingRun, dataset: Dataset, live: Manifest | None, settings: SidecarSettings, record: Record
) -> tuple[Exported, Gate, dict[str, Any]]:
    """live: the manifest of the live version. Returns the export with its held set, and facts for its manifest.

    Raises DatasetRefused, StageFailed, or Rejected by the gate.
    """
    options = options_fingerprint(settings)
    warm = warm_start(live, dataset.spec(), options)
    record.say(f"dataset {dataset.folder}: training{'' if warm.checkpoint else ' from scratch'}: {warm.reason}")
    with record.stage("training"):
        scores = run.train(warm)
    with record.stage("gate"):
        gate = _pass_gate(run, scores, live, warm, settings, record)
    with record.stage("exporting"):
        exported = run.export(scores.epoch)
        held = HeldSet.of_dataset(dataset.folder, scores, served_inputs(exported), settings.held_rows)
        held.save(exported.folders[exported.name])
    facts = {
        "train_options": options,
        "checkpoint": str(run.checkpoint(scores.epoch).resolve()),
        "dataset": str(dataset.folder),
        "dataset_fingerprint": dataset.fingerprint,
        "training": "warm" if warm.checkpoint else "from scratch",
        "training_reason": warm.reason,
        "gate": asdict(gate),
        "test_metrics": {name: scores.metric(name) for name in METRICS},
    }
    return exported, gate, facts


def _pass_gate(
    run: TrainingRun, scores: TestScores, live: Manifest | None, warm: WarmStart, settings: SidecarSettings,
    record: Record,
) -> Gate:  # fmt: skip
    metric, value = settings.metric, scores.metric(settings.metric)
    baseline, source = _baseline(run, live, warm, settings)
    record.metrics.set("test_metric", value, metric=metric, of="candidate")
    if baseline is not None:
        record.metrics.set("test_metric", baseline, metric=metric, of="live")
    verdict = judge(metric, value, baseline, settings.max_metric_drop, source)
    if not verdict.passed:
        raise Rejected(verdict.reason)
    if warm.checkpoint and scores.epoch <= warm.epoch:
        raise Rejected("no epoch on the new data is better by its validation rows than the live version's")
    return Gate(metric, value, baseline, source, verdict.reason)


def _baseline(
    run: TrainingRun, live: Manifest | None, warm: WarmStart, settings: SidecarSettings
) -> tuple[float | None, str]:
    """The live version's metric: on the same test rows where its checkpoint fits the dataset, else the recorded one."""
    if live is None:
        return None, ""
    if warm.checkpoint and settings.baseline == "evaluate":
        return run.evaluate(warm.checkpoint).metric(settings.metric), "its checkpoint on the new test rows"
    of_training = live.get("metrics", {}).get(f"test_{settings.metric}")
    return live.get("test_metrics", {}).get(settings.metric, of_training), "recorded with it, on its own test rows"
