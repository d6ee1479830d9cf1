"""Models compiled by XLA, as `--xla` does: the same losses, scores and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.training.models.samples import columns_of, label_of, model_of, settings_of, spec_of, tensors
from tests.training.models.variants import VARIANTS

pytestmark = pytest.mark.slow


COMPILED = ["sim", "sim, hard search with times", "sim, activation unit", "din, multi-head", "dien"]


@pytest.mark.parametrize("variant", COMPILED)
def test_compiled_is_eager(variant: str) -> None:
    kind, options, shape = VARIANTS[variant]
    spec = spec_of(**shape)
    model, columns = model_of(spec, settings_of(kind, **options)), columns_of(spec, 9)

    def backward(features: dict, label: tf.Tensor) -> tuple:
        with tf.GradientTape() as tape:
            loss = model.loss_terms(features, label)
        gradients = tape.gradient(loss.total, model.trainable_variables)
        return loss.total, loss.logits, [tf.convert_to_tensor(g) for g in gradients]

    arguments = (tensors(columns, model), label_of(columns))
    compiled, eager = tf.function(backward, jit_compile=True)(*arguments), backward(*arguments)
    for got, expected in zip(tf.nest.flatten(compiled), tf.nest.flatten(eager), strict=True):
        np.testing.assert_allclose(got, expected, atol=2e-5)


def test_bfloat16_compiles() -> None:
    spec = spec_of()
    model, columns = model_of(spec, settings_of("sim"), dtype=tf.bfloat16), columns_of(spec, 9)
    features = tensors(columns, model)
    scored = tf.function(lambda f: model.call(f, training=False), jit_compile=True)(features)
    np.testing.assert_allclose(scored, model.call(features, training=False), atol=0.05)
