"""Tiny SavedModels and the config.pbtxt text that fits them; what the serving tests load into Triton."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

DTYPES = {
    "BOOL": tf.bool,
    "UINT8": tf.uint8,
    "UINT16": tf.uint16,
    "UINT32": tf.uint32,
    "UINT64": tf.uint64,
    "INT8": tf.int8,
    "INT16": tf.int16,
    "INT32": tf.int32,
    "INT64": tf.int64,
    "FP16": tf.float16,
    "FP32": tf.float32,
    "FP64": tf.float64,
    "BF16": tf.bfloat16,
}
TABLE_ROWS = 10  # ids from here on make the picky model fail at run time

Tensors = Sequence[tuple[str, str, Sequence[int]]]  # name, data type as config.pbtxt spells it without TYPE_, dims


def config_text(
    inputs: Tensors,
    outputs: Tensors,
    *,
    max_batch_size: int = 64,
    instances: int = 1,
    extra: str = "",
    parameters: dict[str, str] | None = None,
) -> str:
    """A config.pbtxt."""
    lines = ['platform: "tensorflow_savedmodel"', 'backend: "tensorflow"', f"max_batch_size: {max_batch_size}"]
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for name, dtype, dims in tensors:
            lines.append(f'{kind} [ {{ name: "{name}" data_type: TYPE_{dtype} dims: {list(dims)} }} ]')
    lines.append(f"instance_group [ {{ count: {instances} kind: KIND_CPU }} ]")
    for key, value in (parameters or {}).items():
        lines.append(f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}')
    return "\n".join([*lines, extra, ""])


def save(
    folder: Path,
    function: Callable[..., Any],
    specs: Sequence[tf.TensorSpec],
    variables: Sequence[tf.Variable] = (),
    jit_compile: bool | None = None,
    signature: str = "serving_default",
) -> None:
    """Saves the function as <folder>/model.savedmodel."""
    module = tf.Module()
    module.kept = list(variables)
    module.run = tf.function(function, input_signature=list(specs), jit_compile=jit_compile, autograph=False)
    tf.saved_model.save(module, str(folder / "model.savedmodel"), signatures={signature: module.run})


def add_echo(repository: Path, name: str) -> None:
    """y = x with its three columns reversed, in one data type."""
    dtype = DTYPES[name]
    model = repository / f"echo_{name.lower()}"
    save(model / "1", lambda x: {"y": tf.gather(x, [2, 1, 0], axis=1)}, [tf.TensorSpec([None, 3], dtype, name="x")])
    (model / "config.pbtxt").write_text(config_text([("x", name, [3])], [("y", name, [3])]))


PAIR_INPUTS = [("ids", "INT64", [3]), ("weight", "FP32", [1])]
PAIR_OUTPUTS = [("total", "FP32", [1]), ("twice", "INT64", [3])]


def _pair(ids: tf.Tensor, weight: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"total": tf.reduce_sum(tf.cast(ids, tf.float32), 1, keepdims=True) * weight, "twice": 2 * ids}


def add_pair(repository: Path) -> None:
    """Two inputs, two outputs, dynamic batching that waits 100 ms for company."""
    model = repository / "pair"
    specs = [tf.TensorSpec([None, 3], tf.int64, name="ids"), tf.TensorSpec([None, 1], tf.float32, name="weight")]
    save(model / "1", _pair, specs)
    extra = "dynamic_batching { max_queue_delay_microseconds: 100000 preferred_batch_size: [ 64 ] }"
    (model / "config.pbtxt").write_text(config_text(PAIR_INPUTS, PAIR_OUTPUTS, extra=extra))


def add_picky(repository: Path) -> None:
    """Looks ids up in a table; an id outside it fails at run time. Batches like `pair`."""
    table = tf.Variable(tf.range(TABLE_ROWS, dtype=tf.float32)[:, None] * 10)
    model = repository / "picky"
    save(
        model / "1",
        lambda ids: {"value": tf.gather(table, ids[:, 0])},
        [tf.TensorSpec([None, 1], tf.int64, name="ids")],
        [table],
    )
    extra = "dynamic_batching { max_queue_delay_microseconds: 100000 preferred_batch_size: [ 64 ] }"
    (model / "config.pbtxt").write_text(config_text([("ids", "INT64", [1])], [("value", "FP32", [1])], extra=extra))


def add_open_width(repository: Path) -> None:
    """An input of any width; the batcher may hand over requests of different widths together."""
    model = repository / "open_width"
    save(
        model / "1",
        lambda x: {"sum": tf.reduce_sum(x, 1, keepdims=True), "same": tf.identity(x)},
        [tf.TensorSpec([None, None], tf.float32, name="x")],
    )
    extra = "dynamic_batching { max_queue_delay_microseconds: 100000 preferred_batch_size: [ 64 ] }"
    (model / "config.pbtxt").write_text(
        config_text([("x", "FP32", [-1])], [("sum", "FP32", [1]), ("same", "FP32", [-1])], extra=extra)
    )


def add_unbatched(repository: Path) -> None:
    """max_batch_size 0: the first dimension is a dimension like any other."""
    model = repository / "unbatched"
    save(
        model / "1",
        lambda x, y: {"product": tf.linalg.matmul(x, y), "count": tf.size(x)[None]},
        [tf.TensorSpec([2, 3], tf.float32, name="x"), tf.TensorSpec([3, None], tf.float32, name="y")],
    )
    (model / "config.pbtxt").write_text(
        config_text(
            [("x", "FP32", [2, 3]), ("y", "FP32", [3, -1])],
            [("product", "FP32", [2, -1]), ("count", "INT32", [1])],
            max_batch_size=0,
        )
    )


def add_version(model: Path, version: int) -> None:
    """A version that answers with its number."""
    number = tf.constant(float(version))
    save(model / str(version), lambda x: {"y": x * 0 + number}, [tf.TensorSpec([None, 1], tf.float32, name="x")])


def add_versions(repository: Path) -> None:
    """Versions 1 and 3 answer with their number."""
    model = repository / "versions"
    for version in (1, 3):
        add_version(model, version)
    (model / "config.pbtxt").write_text(
        config_text([("x", "FP32", [1])], [("y", "FP32", [1])], extra="version_policy: { all {} }")
    )


def add_xla(repository: Path) -> None:
    """Compiled by XLA inside the graph; two instances, threads set."""
    weights = tf.Variable(tf.ones([4, 4]))
    model = repository / "xla"
    save(
        model / "1",
        lambda x: {"y": tf.nn.relu(tf.linalg.matmul(x, weights)) + 1.0},
        [tf.TensorSpec([None, 4], tf.float32, name="x")],
        [weights],
        jit_compile=True,
    )
    (model / "config.pbtxt").write_text(
        config_text(
            [("x", "FP32", [4])],
            [("y", "FP32", [4])],
            instances=2,
            parameters={"TF_NUM_INTRA_THREADS": "1", "TF_NUM_INTER_THREADS": "1"},
        )
    )


KEEPER_WIDTH = 1000


def add_keeper(repository: Path) -> None:
    """Keeps its input in a variable and answers with the previous one: the tensor outlives the request."""
    kept = tf.Variable(tf.zeros([1, KEEPER_WIDTH]), shape=tf.TensorShape([None, KEEPER_WIDTH]))

    def run(x: tf.Tensor) -> dict[str, tf.Tensor]:
        before = tf.identity(kept.read_value())
        with tf.control_dependencies([before]):
            kept.assign(x)
        return {"y": before}

    model = repository / "keeper"
    save(model / "1", run, [tf.TensorSpec([None, KEEPER_WIDTH], tf.float32, name="x")], [kept])
    (model / "config.pbtxt").write_text(config_text([("x", "FP32", [KEEPER_WIDTH])], [("y", "FP32", [KEEPER_WIDTH])]))


def add_not_batching(repository: Path) -> None:
    """Says it batches, but returns one row for all: must end in an error, not in wrong rows."""
    model = repository / "not_batching"
    save(
        model / "1",
        lambda x: {"y": x[: tf.minimum(1, tf.shape(x)[0])], "same": tf.identity(x)},
        [tf.TensorSpec([None, 2], tf.float32, name="x")],
    )
    (model / "config.pbtxt").write_text(config_text([("x", "FP32", [2])], [("y", "FP32", [2]), ("same", "FP32", [2])]))


def build_all(repository: Path) -> None:
    """Every model of this file."""
    for name in DTYPES:
        add_echo(repository, name)
    for add in (
        add_pair,
        add_picky,
        add_open_width,
        add_unbatched,
        add_versions,
        add_xla,
        add_keeper,
        add_not_batching,
    ):
        add(repository)
