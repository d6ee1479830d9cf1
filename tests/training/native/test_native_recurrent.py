"""The GRU kernel against the plain layer: outputs and every gradient."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.gradients import Arrays, assert_near, assert_same_bits, output_and_gradients
from training.layers.gru import Gru
from training.layers.runs import Runs, runs_of
from training.native.gru import gru_states


def some_runs(rng: np.random.Generator, rows: int, longest: int) -> Runs:
    lengths = rng.integers(1, longest + 1, rows)
    run_of_row = np.repeat(np.arange(rows), lengths)[:rows]
    return runs_of([tf.constant(run_of_row.reshape(-1, 1), tf.int32)])


def both(
    rows: int, units: int, steps: int = 4, longest: int = 3, attended: bool = True, last_only: bool = False,
    dtype: tf.DType = tf.float32, padding: float = 0.4,
) -> tuple[Arrays, Arrays]:  # fmt: skip
    """Kernel and plain layer (always float32) on the same numbers."""
    rng = np.random.default_rng(rows * 1000 + units + steps)
    runs = some_runs(rng, rows, longest)
    count = len(runs.first_row)
    projected = rng.standard_normal((count, steps, 3 * units))
    mask = tf.constant(
        np.arange(steps) >= rng.integers(0, steps + 1, (rows, 1)) if padding < 1 else [[False] * steps] * rows
    )
    attention = rng.random((rows, steps)) * (rng.random((rows, steps)) < 0.8)
    arrays = []
    for native, kind in ((True, dtype), (False, tf.float32)):
        tf.random.set_seed(1)
        gru = Gru(5, units, "gru", native=native)
        assert gru.native == native
        inputs = {"projected": tf.cast(tf.cast(projected, dtype), kind)}
        if attended:
            inputs["attention"] = tf.cast(tf.cast(attention, dtype), kind)

        def run(projected: tf.Tensor, attention: tf.Tensor | None = None, gru: Gru = gru) -> tf.Tensor:
            return gru(projected, runs, mask, attention, last_only)

        arrays.append(output_and_gradients(run, inputs, [gru.cell.recurrent]))
    if attended:  # the kernel leaves out what an attention of exactly 0 would have as its own gradient
        for a in arrays:
            a["attention"] = a["attention"] * (attention != 0)
    return arrays[0], arrays[1]


@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("units", [16, 32, 96])
@pytest.mark.parametrize("rows", [1, 2, 63, 64, 65, 130])
def test_float32_is_the_plain_layer(rows: int, units: int, last_only: bool) -> None:
    assert_near(*both(rows, units, last_only=last_only), relative=1e-5)


@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("rows", [1, 65, 130])
def test_bfloat16_is_near_the_float32_layer(rows: int, last_only: bool) -> None:
    assert_near(*both(rows, 32, dtype=tf.bfloat16, last_only=last_only), relative=0.04)


@pytest.mark.parametrize("attended", [True, False])
@pytest.mark.parametrize("longest", [1, 130, 70])
def test_runs_that_cross_blocks_of_rows(longest: int, attended: bool) -> None:
    assert_near(*both(200, 16, longest=longest, attended=attended), relative=1e-5)


def test_one_run_of_all_rows() -> None:
    assert_near(*both(130, 16, longest=1000), relative=1e-5)


def test_all_padding_has_state_and_gradients_zero() -> None:
    native, plain = both(65, 16, padding=1.0)
    assert_near(native, plain, relative=1e-6)
    assert not any(a.any() for a in native.values())


@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 11])
def test_any_number_of_steps(steps: int, last_only: bool) -> None:
    assert_near(*both(20, 16, steps=steps, last_only=last_only), relative=1e-5)


@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_a_batch_without_rows(dtype: tf.DType, last_only: bool) -> None:
    native, plain = both(0, 16, dtype=dtype, last_only=last_only)
    assert_near(native, plain, relative=1e-6)
    assert native["output"].shape[0] == 0


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_the_same_input_gives_the_same_bits(dtype: tf.DType) -> None:
    assert_same_bits(both(300, 32, dtype=dtype)[0], both(300, 32, dtype=dtype)[0])


def scored(lengths: list[int], last_only: bool, attended: bool, dtype: tf.DType) -> tuple[Arrays, Arrays]:
    """Kernel and plain layer (always float32) in graphs that ask for no gradient, so for one output of the kernel's.

    Some rows have padding of their own, scales of 0 in places or everywhere, and the first step that counts elsewhere.
    """
    rng, rows, steps, units = np.random.default_rng(sum(lengths)), sum(lengths), 5, 32
    runs = runs_of([tf.constant(np.repeat(np.arange(len(lengths)), lengths).reshape(-1, 1), tf.int32)])
    mask = tf.constant(np.arange(steps) >= rng.integers(0, 3, (len(lengths), 1))[runs.run_of_row])
    mask &= tf.constant(rng.random((rows, 1)) < 0.9)
    attention = rng.random((rows, steps)) * (rng.random((rows, steps)) < 0.8) if attended else None
    projected = rng.standard_normal((len(lengths), steps, 3 * units))
    arrays = []
    for native, kind in ((True, dtype), (False, tf.float32)):
        tf.random.set_seed(1)
        gru = Gru(5, units, "gru", native=native)
        weights = None if attention is None else tf.cast(tf.cast(attention, dtype), kind)

        @tf.function
        def run(gru: Gru = gru, kind: tf.DType = kind, weights: tf.Tensor | None = weights) -> tf.Tensor:
            return gru(tf.cast(tf.cast(projected, dtype), kind), runs, mask, weights, last_only)

        arrays.append({"output": tf.cast(run(), tf.float32).numpy()})
    return arrays[0], arrays[1]


@pytest.mark.parametrize("attended", [True, False])
@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("lengths", [[1000], [64, 64], [8], [9], [1] * 70, [70, 3, 200, 1, 1], [2, 130, 9]])
def test_scoring_asks_for_no_gates(lengths: list[int], last_only: bool, attended: bool) -> None:
    assert_near(*scored(lengths, last_only, attended, tf.float32), relative=1e-5)
    assert_near(*scored(lengths, last_only, attended, tf.bfloat16), relative=0.04)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    rows=st.integers(0, 140), units=st.sampled_from([16, 32, 48]), steps=st.integers(1, 5), longest=st.integers(1, 80),
    attended=st.booleans(), last_only=st.booleans(),
)  # fmt: skip
def test_any_shape(rows: int, units: int, steps: int, longest: int, attended: bool, last_only: bool) -> None:
    assert_near(*both(rows, units, steps, longest, attended, last_only), relative=2e-5)


@pytest.mark.parametrize(("units", "form"), [(6, "paper"), (24, "paper"), (16, "reference")])
def test_what_the_kernel_does_not_have_is_computed_plainly(units: int, form: str) -> None:
    assert not Gru(5, units, "gru", form, native=True).native


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="multiple of 16"):
        gru_states(tf.ones([2, 3, 24]), tf.range(2), tf.ones([8, 24]), tf.ones([2, 3]), False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="shapes do not fit"):
        gru_states(tf.ones([2, 4, 48]), tf.range(2), tf.ones([16, 48]), tf.ones([2, 3]), False)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_gates_far_beyond_saturation(dtype: tf.DType) -> None:
    """σ and tanh at ±10⁴ and ±∞ are 0 and ±1: the state is tanh(x_c) where the update is open, 0 where it is shut."""
    gates = np.array([[[1e4] * 32 + [c] * 16 for c in (1e4, -1e4, np.inf, -np.inf)]])  # [1, 4, 48]
    shut = np.array([[[-1e4] * 32 + [np.inf] * 16] * 4])
    for projected, expected in ((gates, [1.0, -1.0, 1.0, -1.0]), (shut, [0.0] * 4)):
        states = gru_states(
            tf.constant(projected, dtype), tf.constant([0]), tf.zeros([16, 48]), tf.ones([1, 4]), last_only=False
        )
        np.testing.assert_allclose(tf.cast(states[0, :, 0], tf.float32), expected, atol=1e-3)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_not_a_number_is_not_hidden(dtype: tf.DType) -> None:
    projected = tf.constant(np.full((1, 2, 48), np.nan), dtype)
    states = gru_states(projected, tf.constant([0]), tf.zeros([16, 48]), tf.ones([1, 2]), last_only=False)
    assert np.isnan(tf.cast(states, tf.float32)).all()
