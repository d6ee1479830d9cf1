"""What the side-car is told at its start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from deploy.connection import Connection


@dataclass(frozen=True)
class SidecarSettings:
    """data: watched folder. state: journal, runs, log. train_options, export_options: for the commands, as typed.

    epochs: of a training from scratch. warm_epochs: added to a checkpoint. metric: auc or loss, of the test rows.
    max_metric_drop: by how much it may be worse than the live version's. baseline: evaluate the live checkpoint on the
    new test rows, or take the metric recorded in its manifest. held_rows: scored through the server. keep: versions.
    max_tries: of a dataset whose training, evaluation, export or publishing fails. nice: of the child processes, 0…19.
    bootstrap: generate a dataset of so many users where there is no version and none.
    """

    data: Path
    repository: Path
    state: Path
    name: str = "sim"
    connection: Connection = field(default_factory=Connection)
    recipe: Path | None = None
    train_options: tuple[str, ...] = ()
    export_options: tuple[str, ...] = ()
    epochs: int = 3
    warm_epochs: int = 1
    metric: str = "auc"
    max_metric_drop: float = 0.005
    baseline: str = "evaluate"
    held_rows: int = 1000
    keep: int = 5
    max_tries: int = 3
    retry_wait_s: float = 30.0
    poll_s: float = 2.0
    nice: int = 10
    stage_timeout_s: float = 86400.0
    bootstrap: bool = False
    bootstrap_users: int = 2000

    @property
    def log_file(self) -> Path:
        return self.state / "decisions.json"
