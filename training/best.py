"""Which epoch is the best by a validation metric, and when to stop. The test mapping has no say in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.errors import SettingsError
from training.feature_spec import FeatureSpec
from training.settings import TrainingSettings

LOWER_IS_BETTER = ("loss",)
MAKE_A_SPLIT = (
    "this dataset has no mapping `validation`. Make one with `recserve preprocess --validation_split` and convert "
    "again, or name one in source_spec; the test set is never used for it"
)


@dataclass(frozen=True)
class BestEpoch:
    """The best epoch so far by `metric`. epoch 0: none yet, or the metric was not defined for any."""

    metric: str
    patience: int
    epoch: int = 0
    value: float | None = None

    def after(self, epoch: int, validation: dict[str, float | None]) -> BestEpoch:
        """With one more epoch. validation: its metrics `validation_…`. Of equal epochs the first stays."""
        value = validation[f"validation_{self.metric}"]
        if value is None or not self._is_better(value):
            return self
        return BestEpoch(self.metric, self.patience, epoch, value)

    def is_time_to_stop(self, epochs_done: int) -> bool:
        return self.patience > 0 and epochs_done - self.epoch >= self.patience

    def record(self) -> dict[str, Any] | None:
        """As best.json and metrics.json have it; None if there is no best epoch."""
        return {"epoch": self.epoch, "metric": self.metric, "value": self.value} if self.epoch else None

    def _is_better(self, value: float) -> bool:
        if self.value is None:
            return True
        return value < self.value if self.metric in LOWER_IS_BETTER else value > self.value


def best_epoch_of(
    settings: TrainingSettings, spec: FeatureSpec, user: str | None, record: dict[str, Any] | None
) -> BestEpoch | None:
    """The state at the start of a run; None without a validation mapping. record: of the checkpoint it resumes.

    Raises SettingsError for early stopping without a validation mapping, and for GAUC without users.
    """
    if "validation" not in spec.sources:
        if settings.early_stopping_patience:
            raise SettingsError(f"early_stopping_patience: got {settings.early_stopping_patience}, but {MAKE_A_SPLIT}.")
        return None
    if settings.best_metric == "gauc" and user is None:
        raise SettingsError("best_metric: got gauc, but the model has no user feature. Use auc or loss.")
    fresh = BestEpoch(settings.best_metric, settings.early_stopping_patience)
    if not record or record["metric"] != settings.best_metric:
        return fresh
    return fresh.after(int(record["epoch"]), {f"validation_{record['metric']}": record["value"]})
