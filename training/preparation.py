"""What a run needs before its first step: the specification, folders, the model, datasets; refused early if wrong."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from training.amp import compute_dtype
from training.checkpoint_folders import remove_unfinished
from training.distributed import Workers
from training.errors import SettingsError
from training.feature_spec import Feature, FeatureSpec
from training.input_pipeline import Dataset
from training.models import build_model
from training.models.base import CtrModel
from training.settings import Settings

MAX_SEED = 2**31 - 1


def load_spec(settings: Settings) -> FeatureSpec:
    """The dataset's specification. Raises SettingsError or FeatureSpecError."""
    if not settings.data.dataset_dir:
        raise SettingsError("dataset_dir: missing; pass the folder that holds feature_spec.yaml")
    path = Path(settings.data.dataset_dir) / settings.data.feature_spec
    if not path.is_file():
        raise SettingsError(f"dataset_dir: there is no {path}. Make it with `recserve convert`, or set --feature_spec.")
    return FeatureSpec.load(path, check_files=True)


def make_folders(settings: Settings) -> None:
    """Before anything is trained, so that a path that cannot be written costs no epoch."""
    for name in ("results_dir", "save_checkpoint_path"):
        path = getattr(settings.results, name)
        if not path:
            continue
        try:
            Path(path).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise SettingsError(f"{name}: cannot write to {path}: {error.strerror}. Choose another folder.") from error
    if settings.results.save_checkpoint_path:
        remove_unfinished(Path(settings.results.save_checkpoint_path))


def resolved_seed(settings: Settings, workers: Workers, stored: int = -1) -> int:
    """The run's seed, the same on all ranks: the one given, else that of the checkpoint, else a random one."""
    given = settings.run.seed if settings.run.seed >= 0 else stored
    seed = given if given >= 0 else int(np.random.default_rng().integers(MAX_SEED))
    return int(workers.broadcast_value(seed))


def new_model(settings: Settings, spec: FeatureSpec) -> CtrModel:
    """With fresh weights, computing in the dtype of --amp."""
    native = settings.run.native_kernels and not settings.training.xla
    return build_model(spec, settings.model, compute_dtype(settings.training.amp), native=native)


def training_data(settings: Settings, spec: FeatureSpec, model: CtrModel, workers: Workers) -> Dataset:
    return _dataset(settings, spec, "train", model.trained, model, settings.training.global_batch_size, workers)


def evaluation_data(
    settings: Settings,
    spec: FeatureSpec,
    mapping: str,
    model: CtrModel,
    workers: Workers,
    batch_size: int | None = None,
) -> Dataset:
    """With the user feature for GAUC. batch_size: by default what fits one micro-batch per rank."""
    features = model.served
    if model.user is not None and model.user not in {f.name for f in features}:
        features = (*features, spec.features[model.user])
    fitting = min(settings.training.global_batch_size, settings.training.micro_batch_size * workers.size)
    return _dataset(settings, spec, mapping, features, model, batch_size or fitting, workers)


def _dataset(
    settings: Settings, spec: FeatureSpec, mapping: str, features: tuple[Feature, ...], model: CtrModel,
    batch_size: int, workers: Workers,
) -> Dataset:  # fmt: skip
    if settings.training.global_batch_size < workers.size:
        raise SettingsError(
            f"global_batch_size: expected at least one row per process ({workers.size}), "
            f"got {settings.training.global_batch_size}"
        )
    data = Dataset(spec, mapping, features, model.label, batch_size, settings.data, workers.rank, workers.size)
    data.check()
    return data


def passes_per_epoch(settings: Settings) -> int:
    return max(1, settings.data.repeat_count)


def steps_per_epoch(settings: Settings, data: Dataset) -> int | None:
    """None if the specification does not say how many rows there are. Raises SettingsError if there is no step."""
    rows = data.rows()
    if rows is None:
        return None
    steps = rows // data.batch_size if settings.data.drop_remainder else -(-rows // data.batch_size)
    if steps == 0:
        raise no_step(data)
    return steps * passes_per_epoch(settings)


def no_step(data: Dataset) -> SettingsError:
    return SettingsError(
        f"an epoch has no step: drop_remainder leaves no batch of {data.batch_size} rows. "
        "Lower global_batch_size or do not drop the remainder."
    )


def has_gpu() -> bool:
    return bool(tf.config.list_logical_devices("GPU"))
