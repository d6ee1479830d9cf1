"""Rows that belong together stay together, in batches and on ranks."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.pipeline.reading import open_dataset, read
from training.errors import DataError
from training.settings import DataSettings

STREAMED, CACHED = DataSettings(disable_cache=True), DataSettings()


@pytest.mark.parametrize("settings", [STREAMED, CACHED])
@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("prebatch", [1, 16, 15])
def test_pairs_stay_together_in_batches_and_on_ranks(write_pairs, settings, ranks: int, prebatch: int) -> None:
    folder = write_pairs(pairs=150, prebatch=prebatch)
    seen = []
    for rank in range(ranks):
        dataset = open_dataset(folder, 64, settings=settings, rank=rank, ranks=ranks)
        batches = list(dataset.batches(shuffle_seed=9))
        assert [b.global_rows for b in batches] == [64, 64, 64, 64, 44]
        for batch in batches:
            history = batch.features["item_id_pos"].numpy()
            np.testing.assert_array_equal(history[0::2], history[1::2])
            assert abs(len(history) - batch.global_rows / ranks) < 2
            np.testing.assert_array_equal(batch.label.numpy()[0::2], 1)
            np.testing.assert_array_equal(batch.label.numpy()[1::2], 0)
            seen.append(history)
    expected = read(open_dataset(folder, 64))[1]["item_id_pos"]
    got = np.concatenate(seen)
    np.testing.assert_array_equal(got[np.lexsort(got.T)], expected[np.lexsort(expected.T)])


@pytest.mark.parametrize("settings", [STREAMED, CACHED])
@pytest.mark.parametrize("batch_size", [1, 7, 33])
def test_batch_sizes_that_cut_pairs_lose_no_row(write_pairs, settings, batch_size: int) -> None:
    folder = write_pairs(pairs=20)
    plain = read(open_dataset(folder, 40))[1]
    parts = []
    for rank in range(2):
        dataset = open_dataset(folder, batch_size, settings=settings, rank=rank, ranks=2)
        batches = list(dataset.batches(shuffle_seed=2))
        assert len(batches) == -(-40 // batch_size)
        parts += [b.features["item_id_pos"].numpy() for b in batches]
    got = np.concatenate(parts)
    np.testing.assert_array_equal(got[np.lexsort(got.T)], plain["item_id_pos"][np.lexsort(plain["item_id_pos"].T)])


def test_a_group_size_that_makes_no_sense_is_an_error(write_dataset) -> None:
    folder = write_dataset(train_rows=10, test_rows=10)
    text = (folder / "feature_spec.yaml").read_text()
    (folder / "feature_spec.yaml").write_text(text.replace("metadata:\n", "metadata:\n  rows_per_group: 0\n"))
    with pytest.raises(DataError, match=r"rows_per_group: got 0, expected a whole number >= 1"):
        read(open_dataset(folder, 4))
