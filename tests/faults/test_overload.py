"""The overload trial at a small size: a model that computes for milliseconds, a short queue, three seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.faults.overload import overload_trial
from training.feature_spec import FeatureSpec

CHUNK = {"type": "tfrecord", "features": ["item"], "files": ["none.tfrecord"]}
SPEC = {
    "feature_spec": {"item": {"dtype": "int64", "cardinality": 50}},
    "channel_spec": {"candidate": ["item"], "label": []},
    "source_spec": {"test": [CHUNK]},
    "metadata": {},
}
CONFIG = """name: "sim"
platform: "tensorflow_savedmodel"
backend: "tensorflow"
max_batch_size: 8
input [ { name: "item" data_type: TYPE_INT64 dims: [ 1 ] } ]
output [ { name: "logit" data_type: TYPE_FP32 dims: [ 1 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
dynamic_batching { }
parameters { key: "MAX_QUEUE_SIZE" value { string_value: "6" } }
"""


@pytest.fixture(scope="module")
def slow_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tensorflow as tf

    class Slow(tf.Module):
        def __init__(self) -> None:
            self.matrix = tf.constant(np.random.default_rng(0).normal(0, 1e-3, (700, 700)).astype(np.float32))

        @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.int64, name="item")])
        def score(self, item: tf.Tensor) -> dict[str, tf.Tensor]:
            x = self.matrix * tf.cast(item[0, 0], tf.float32)
            for _ in range(4):
                x = tf.linalg.matmul(x, self.matrix)
            return {"logit": tf.cast(item, tf.float32) + tf.reduce_sum(x)}

    repository = tmp_path_factory.mktemp("slow")
    version = repository / "sim" / "1"
    model = Slow()
    tf.saved_model.save(model, str(version / "model.savedmodel"), {"serving_default": model.score})
    (version.parent / "config.pbtxt").write_text(CONFIG)
    FeatureSpec.from_dict(SPEC).save(version / "feature_spec.yaml")
    return repository


@pytest.mark.server
@pytest.mark.slow
def test_the_excess_is_refused_and_nothing_else_fails(slow_repository: Path) -> None:
    found = overload_trial(slow_repository, batch_size=8, seconds=3.0)
    assert found["sent"] == found["accepted"] + found["refused"]
    assert found["other_errors"] == 0
    assert found["sent"] == round(3.0 * found["offered"])
    assert found["offered"] == pytest.approx(3 * found["capacity"])
    if not found["refused"]:
        pytest.skip(f"the machine became faster after the capacity was measured ({found['capacity']:.0f} requests/s)")
    assert found["accepted"] > 0
    assert found["refused_p50_ms"] < found["accepted_p50_ms"]
    assert found["memory_growth_bytes"] < 50e6
