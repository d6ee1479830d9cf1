"""Models by name; each is one module with a class `Model`, loaded on demand. DIN, DIEN and more go here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from training.feature_spec import FeatureSpec
from training.settings import ModelSettings

if TYPE_CHECKING:
    import tensorflow as tf

    from training.models.base import CtrModel

MODULES = {"sim": "training.models.sim"}


def build_model(spec: FeatureSpec, settings: ModelSettings, compute_dtype: tf.DType | None = None) -> CtrModel:
    """The model named by settings.model_type, with fresh weights. compute_dtype: float32 unless given."""
    import tensorflow as tf

    module = importlib.import_module(MODULES[settings.model_type])
    model: CtrModel = module.Model(spec, settings, compute_dtype or tf.float32)
    return model
