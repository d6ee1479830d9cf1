"""Models by name; each is one module with a class `Model`, loaded on demand. More models go here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from training.feature_spec import FeatureSpec
from training.settings import ModelSettings

if TYPE_CHECKING:
    import tensorflow as tf

    from training.models.base import CtrModel

MODULES = {"sim": "training.models.sim", "din": "training.models.din", "dien": "training.models.dien"}


def build_model(
    spec: FeatureSpec, settings: ModelSettings, compute_dtype: tf.DType | None = None, native: bool = False
) -> CtrModel:
    """The model named by settings.model_type, with fresh weights. compute_dtype: float32 unless given.

    native: compute what rows with the same history share once, and use the compiled CPU kernels where there are any.
    For training, evaluation and the graph that only our serving backend runs; a model that XLA compiles, or that
    others are to serve, is built without.
    """
    import tensorflow as tf

    module = importlib.import_module(MODULES[settings.model_type])
    model: CtrModel = module.Model(spec, settings.resolved(), compute_dtype or tf.float32, native)
    return model
