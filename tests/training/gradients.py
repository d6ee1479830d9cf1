"""Outputs and gradients of two ways to compute the same, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

Arrays = dict[str, np.ndarray]


def dense(gradient: tf.Tensor | tf.IndexedSlices) -> np.ndarray:
    """float32; repeated rows of IndexedSlices add up."""
    return np.asarray(tf.cast(tf.convert_to_tensor(gradient), tf.float32))


def output_and_gradients(
    function: Callable[..., tf.Tensor], inputs: Mapping[str, tf.Tensor], variables: Sequence[tf.Variable] = ()
) -> Arrays:
    """The output, and the gradients of the sum of the output times fixed random numbers, by name; zeros without one."""
    with tf.GradientTape() as tape:
        tape.watch(list(inputs.values()))
        output = function(**inputs)
        upstream = np.random.default_rng(99).standard_normal(output.shape)
        total = tf.reduce_sum(output * tf.cast(upstream, output.dtype))
    names = [*inputs, *(f"{i}_{v.name}" for i, v in enumerate(variables))]
    sources = [*inputs.values(), *variables]
    gradients = [
        np.zeros(source.shape, np.float32) if g is None else dense(g)
        for source, g in zip(sources, tape.gradient(total, sources), strict=True)
    ]
    return {"output": dense(output), **dict(zip(names, gradients, strict=True))}


def assert_near(got: Arrays, expected: Arrays, relative: float) -> None:
    """Each array within `relative` times the largest number of the expected one."""
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert got[name].shape == array.shape, name
        tolerance = relative * max(np.abs(array).max(initial=0.0), 1e-3)
        np.testing.assert_allclose(got[name], array, rtol=0, atol=tolerance, err_msg=name)


def assert_same_bits(one: Arrays, other: Arrays) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)
