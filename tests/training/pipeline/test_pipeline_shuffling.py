"""Shuffling in the input pipeline: over the whole set, anew in each pass, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.pipeline.reading import open_dataset, read, sorted_rows
from training.settings import DataSettings


@pytest.mark.parametrize("prebatch", [1, 16])
def test_shuffling_keeps_the_rows_changes_their_order_and_is_reproducible(write_dataset, prebatch: int) -> None:
    dataset = open_dataset(write_dataset(train_rows=200, test_rows=30, prebatch=prebatch), 64)
    (_, plain), (_, one), (_, again), (_, two) = (read(dataset, shuffle_seed=s) for s in (None, 1, 1, 2))
    np.testing.assert_array_equal(one["user_id"], again["user_id"])
    assert (one["user_id"] != plain["user_id"]).any()
    assert (one["user_id"] != two["user_id"]).any()
    for shuffled in (one, two):
        np.testing.assert_array_equal(sorted_rows(shuffled), sorted_rows(plain))


STREAMED, CACHED = DataSettings(disable_cache=True), DataSettings()


@pytest.mark.parametrize("settings", [STREAMED, CACHED])
@pytest.mark.parametrize("prebatch", [1, 16])
def test_defect_16_rows_are_shuffled_over_the_whole_set_and_anew_in_each_pass(
    write_dataset, settings: DataSettings, prebatch: int
) -> None:
    dataset = open_dataset(write_dataset(train_rows=300, test_rows=10, prebatch=prebatch), 100, settings=settings)
    _, plain = read(dataset)
    _, both = read(dataset, shuffle_seed=5, passes=2)
    first, second = ({n: v[half] for n, v in both.items()} for half in (slice(300), slice(300, None)))
    for shuffled in (first, second):
        np.testing.assert_array_equal(sorted_rows(shuffled), sorted_rows(plain))
    place_of = {row.tobytes(): place for place, row in enumerate(plain["item_id_neg"])}
    places = np.array([place_of[row.tobytes()] for row in first["item_id_neg"]])
    assert np.abs(np.corrcoef(places, np.arange(300))[0, 1]) < 0.2
    assert (first["item_id_neg"] != second["item_id_neg"]).any()
    np.testing.assert_array_equal(read(dataset, shuffle_seed=5, passes=2)[1]["user_id"], both["user_id"])


def test_the_setting_shuffle_off_keeps_the_order_of_the_files(write_dataset) -> None:
    folder = write_dataset(train_rows=100, test_rows=10)
    for settings in (DataSettings(shuffle=False), DataSettings(shuffle=False, disable_cache=True)):
        _, columns = read(open_dataset(folder, 32, settings=settings), shuffle_seed=3)
        np.testing.assert_array_equal(columns["item_id_pos"], read(open_dataset(folder, 32))[1]["item_id_pos"])


def test_a_small_shuffle_buffer_mixes_near_rows_only_and_loses_none(write_dataset) -> None:
    settings = DataSettings(disable_cache=True, shuffle_rows=16)
    dataset = open_dataset(write_dataset(train_rows=300, test_rows=10), 50, settings=settings)
    plain, shuffled = read(dataset)[1], read(dataset, shuffle_seed=1)[1]
    np.testing.assert_array_equal(sorted_rows(plain), sorted_rows(shuffled))
    assert (plain["item_id_neg"] != shuffled["item_id_neg"]).any()
