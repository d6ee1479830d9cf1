"""SavedModels for what goes beyond batches of numbers: strings, scalars, defaults, ragged batches, two signatures."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from serving_saved_models import config_text, save

BATCHING = "dynamic_batching { max_queue_delay_microseconds: 100000 preferred_batch_size: [ 64 ] }"


def add_echo_string(repository: Path) -> None:
    """y = x reversed, n = bytes of each element."""
    model = repository / "echo_string"
    save(
        model / "1",
        lambda x: {"y": tf.gather(x, [2, 1, 0], axis=1), "n": tf.strings.length(x)},
        [tf.TensorSpec([None, 3], tf.string, name="x")],
    )
    (model / "config.pbtxt").write_text(
        config_text([("x", "STRING", [3])], [("y", "STRING", [3]), ("n", "INT32", [3])], extra=BATCHING)
    )


def add_string_keeper(repository: Path) -> None:
    """Keeps its input in a variable and answers with the previous one."""
    kept = tf.Variable([["nothing"]], shape=tf.TensorShape([None, 1]))

    def run(x: tf.Tensor) -> dict[str, tf.Tensor]:
        before = tf.identity(kept.read_value())
        with tf.control_dependencies([before]):
            kept.assign(x)
        return {"y": before}

    model = repository / "string_keeper"
    save(model / "1", run, [tf.TensorSpec([None, 1], tf.string, name="x")], [kept])
    (model / "config.pbtxt").write_text(config_text([("x", "STRING", [1])], [("y", "STRING", [1])]))


def add_scalars(repository: Path) -> None:
    """One number per row without a dimension of its own; a second model without rows either."""
    save(repository / "scalars" / "1", lambda x: {"y": 2 * x}, [tf.TensorSpec([None], tf.float32, name="x")])
    save(repository / "one_scalar" / "1", lambda x: {"y": 2 * x}, [tf.TensorSpec([], tf.float32, name="x")])
    reshaped = "dims: [ 1 ] reshape { shape: [ ] }"
    body = f'input [ {{ name: "x" data_type: TYPE_FP32 {reshaped} }} ]'
    body += f'output [ {{ name: "y" data_type: TYPE_FP32 {reshaped} }} ]'
    (repository / "scalars" / "config.pbtxt").write_text(config_text([], [], extra=body))
    text = config_text([("x", "FP32", [1])], [("y", "FP32", [1])], max_batch_size=0)
    (repository / "one_scalar" / "config.pbtxt").write_text(text)


def add_reshape(repository: Path) -> None:
    """The graph sees [B, 2, 3], the client [B, 6]; and back."""
    save(
        repository / "reshape" / "1",
        lambda x: {"y": tf.reverse(x, [1])},
        [tf.TensorSpec([None, 2, 3], tf.float32, name="x")],
    )
    body = 'input [ { name: "x" data_type: TYPE_FP32 dims: [ 6 ] reshape { shape: [ 2, 3 ] } } ]'
    body += 'output [ { name: "y" data_type: TYPE_FP32 dims: [ 6 ] reshape { shape: [ 2, 3 ] } } ]'
    (repository / "reshape" / "config.pbtxt").write_text(config_text([], [], extra=body))


def add_half_broken(repository: Path) -> None:
    """TensorFlow 1: each output is an operation of its own. `bad` fails on negative values, `good` never."""
    model = repository / "half_broken"
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.int64, [None, 1], name="x")
        outputs = {"good": x + 1, "bad": tf.gather(tf.zeros([3], tf.int64), x)}
        tf.compat.v1.saved_model.simple_save(session, str(model / "1" / "model.savedmodel"), {"x": x}, outputs)
    text = config_text([("x", "INT64", [1])], [("good", "INT64", [1]), ("bad", "INT64", [1])], extra=BATCHING)
    (model / "config.pbtxt").write_text(text)


OPTIONAL_BODY = """
input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] },
        { name: "w" data_type: TYPE_FP32 dims: [ 3 ] optional: true },
        { name: "tag" data_type: TYPE_STRING dims: [ 1 ] optional: true } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] }, { name: "t" data_type: TYPE_STRING dims: [ 1 ] } ]
"""


def add_optional(repository: Path) -> None:
    """y = x * w and t = tag; the signature has defaults for w and tag."""
    module = tf.Module()
    w_default, tag_default = tf.constant([[1.0, 2.0, 3.0]]), tf.constant([["none"]])

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 3], tf.float32, name="x"),
            tf.TensorSpec([None, 3], tf.float32, name="w"),
            tf.TensorSpec([None, 1], tf.string, name="tag"),
        ],
        autograph=False,
    )
    def run(x: tf.Tensor, w: tf.Tensor = w_default, tag: tf.Tensor = tag_default) -> dict[str, tf.Tensor]:
        return {"y": x * w, "t": tf.identity(tag)}

    module.run = run
    model = repository / "optional"
    tf.saved_model.save(module, str(model / "1" / "model.savedmodel"), signatures=run)
    (model / "config.pbtxt").write_text(config_text([], [], extra=OPTIONAL_BODY + BATCHING))


def add_optional_placeholder(repository: Path) -> None:
    """TensorFlow 1: the graph itself has a default for w, one that does not depend on the rows."""
    model = repository / "optional_placeholder"
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None, 3], name="x")
        w = tf.compat.v1.placeholder_with_default(tf.constant([[10.0]]), [None, 1], name="w")
        path = str(model / "1" / "model.savedmodel")
        tf.compat.v1.saved_model.simple_save(session, path, {"x": x, "w": w}, {"y": x * w})
    body = 'input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] },'
    body += '{ name: "w" data_type: TYPE_FP32 dims: [ 1 ] optional: true } ]'
    body += 'output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] } ]'
    (model / "config.pbtxt").write_text(config_text([], [], extra=body + BATCHING))


RAGGED_KINDS = {
    "COUNT": ("BATCH_ELEMENT_COUNT", "INT32"),
    "SUMS": ("BATCH_ACCUMULATED_ELEMENT_COUNT", "FP32"),
    "STARTS": ("BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO", "INT32"),
    "LONGEST": ("BATCH_MAX_ELEMENT_COUNT_AS_SHAPE", "FP32"),
    "SHAPES": ("BATCH_ITEM_SHAPE", "INT32"),
    "FLAT": ("BATCH_ITEM_SHAPE_FLATTEN", "INT32"),
}


def add_ragged(repository: Path) -> None:
    """Requests of any length, laid end to end. One row per request: its sum, what the batch inputs said; 2 * x back."""
    specs = [
        tf.TensorSpec([None], tf.float32, name="x"),
        tf.TensorSpec([None], tf.int32, name="COUNT"),
        tf.TensorSpec([None], tf.float32, name="SUMS"),
        tf.TensorSpec([None], tf.int32, name="STARTS"),
        tf.TensorSpec([None], tf.float32, name="LONGEST"),
        tf.TensorSpec([None, None], tf.int32, name="SHAPES"),
        tf.TensorSpec([None], tf.int32, name="FLAT"),
    ]

    def run(x, COUNT, SUMS, STARTS, LONGEST, SHAPES, FLAT):  # type: ignore[no-untyped-def]
        owner = tf.repeat(tf.range(tf.size(COUNT)), COUNT)
        longest = tf.fill(tf.shape(COUNT), tf.size(LONGEST))
        told = tf.stack([COUNT, tf.cast(SUMS, tf.int32), STARTS[1:], longest, SHAPES[:, 0], FLAT], axis=1)
        return {
            "sum": tf.math.segment_sum(x, owner)[:, None],
            "told": told,
            "twice": 2 * x,
        }

    model = repository / "ragged"
    save(model / "1", run, specs)
    body = 'input [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true } ]\n'
    for name, (kind, dtype) in RAGGED_KINDS.items():
        body += f'batch_input [ {{ kind: {kind} target_name: "{name}" data_type: TYPE_{dtype} source_input: "x" }} ]\n'
    body += 'batch_output [ { target_name: "twice" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "x" } ]\n'
    outputs = [("sum", "FP32", [1]), ("told", "INT32", [6]), ("twice", "FP32", [-1])]
    (model / "config.pbtxt").write_text(config_text([], outputs, extra=body + BATCHING))


def add_ragged_rows(repository: Path) -> None:
    """allow_ragged_batch on a graph that wants rows: requests of one batch must run in groups of equal width."""
    save(
        repository / "ragged_rows" / "1",
        lambda x: {"sum": tf.reduce_sum(x, 1, keepdims=True)},
        [tf.TensorSpec([None, None], tf.float32, name="x")],
    )
    body = 'input [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true } ]\n'
    (repository / "ragged_rows" / "config.pbtxt").write_text(
        config_text([], [("sum", "FP32", [1])], extra=body + BATCHING)
    )


def add_nth(repository: Path) -> None:
    """The n-th lowest and the n-th highest of a row, by TensorFlow's operation."""

    def run(x: tf.Tensor, n: tf.Tensor) -> dict[str, tf.Tensor]:
        lowest, highest = (tf.raw_ops.NthElement(input=x, n=n[0, 0], reverse=reverse) for reverse in (False, True))
        return {"lowest": lowest[:, tf.newaxis], "highest": highest[:, tf.newaxis]}

    model = repository / "nth"
    specs = [tf.TensorSpec([None, None], tf.float32, name="x"), tf.TensorSpec([None, 1], tf.int32, name="n")]
    save(model / "1", run, specs)
    outputs = [("lowest", "FP32", [1]), ("highest", "FP32", [1])]
    (model / "config.pbtxt").write_text(config_text([("x", "FP32", [-1]), ("n", "INT32", [1])], outputs))


def save_two_signatures(folder: Path, rows: int) -> None:
    """A table of `rows` floats that two signatures look into: `serving_default` and `negated`."""
    table = tf.Variable(tf.random.uniform([rows, 1]))
    module = tf.Module()
    module.table = table
    spec = [tf.TensorSpec([None, 1], tf.int64, name="ids")]
    plain = tf.function(lambda ids: {"value": tf.gather(table, ids[:, 0])}, input_signature=spec, autograph=False)
    negated = tf.function(lambda ids: {"value": -tf.gather(table, ids[:, 0])}, input_signature=spec, autograph=False)
    module.plain, module.negated = plain, negated
    path = str(folder / "model.savedmodel")
    tf.saved_model.save(module, path, signatures={"serving_default": plain, "negated": negated})


def save_two_tags(folder: Path) -> None:
    """y = x under the tag `serve`, y = 2x under `doubled`."""
    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(folder / "model.savedmodel"))
    for tag, factor in (("serve", 1.0), ("doubled", 2.0)):
        with v1.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [None, 3])
            signature = v1.saved_model.predict_signature_def({"x": x}, {"y": factor * x})
            signatures = {"serving_default": signature}
            if tag == "serve":
                builder.add_meta_graph_and_variables(session, [tag], signatures)
            else:
                builder.add_meta_graph([tag], signatures)
    builder.save()


def build_all(repository: Path) -> None:
    """Every model of this file, but those with two signatures or tags, of which a test chooses."""
    for add in (
        add_echo_string,
        add_string_keeper,
        add_scalars,
        add_reshape,
        add_half_broken,
        add_optional,
        add_optional_placeholder,
        add_ragged,
        add_ragged_rows,
        add_nth,
    ):
        add(repository)
