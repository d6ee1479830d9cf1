"""Errors of the input pipeline name file, row, feature, value and limit."""

from __future__ import annotations

import pytest

from tests.training.pipeline.reading import open_dataset, read
from training.errors import DataError, SettingsError
from training.feature_spec import FeatureSpec
from training.input_pipeline import Dataset
from training.settings import DataSettings


@pytest.mark.parametrize("prebatch", [1, 16])
def test_an_id_outside_its_table_names_file_row_feature_value_and_limit(
    write_dataset, columns_of, write_records, prebatch: int
) -> None:
    folder = write_dataset(train_rows=60, test_rows=10, prebatch=prebatch)
    columns = columns_of(60, seed=1)
    columns["cat_id_pos"][41, 99] = 8
    write_records(folder / "train.tfrecord", columns, prebatch)
    with pytest.raises(DataError, match=r"train\.tfrecord, row 41: feature cat_id_pos: got id 8, expected 0\.\.7"):
        read(open_dataset(folder, 32), shuffle_seed=1)


def test_a_truncated_file_is_named_with_the_row_it_ends_at(write_dataset) -> None:
    folder = write_dataset(train_rows=60, test_rows=10)
    file = folder / "train.tfrecord"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"train\.tfrecord, after row 59: damaged or truncated"):
        read(open_dataset(folder, 32))


def test_a_file_that_is_no_tfrecord_is_named(write_dataset) -> None:
    folder = write_dataset(train_rows=60, test_rows=10)
    (folder / "train.tfrecord").write_text("label,user\n1,2\n" * 10)
    with pytest.raises(DataError, match=r"train\.tfrecord: not readable as tfrecord"):
        open_dataset(folder, 32).check()


def test_an_empty_file_has_no_rows(write_dataset) -> None:
    folder = write_dataset(train_rows=60, test_rows=10)
    (folder / "train.tfrecord").write_bytes(b"")
    with pytest.raises(DataError, match="no rows"):
        open_dataset(folder, 32).check()


def test_a_record_without_a_feature_is_an_error(write_dataset, columns_of, write_records) -> None:
    folder = write_dataset(train_rows=60, test_rows=10)
    columns = columns_of(60, seed=1)
    del columns["cat_id_neg"]
    write_records(folder / "train.tfrecord", columns)
    with pytest.raises(DataError, match="cat_id_neg"):
        read(open_dataset(folder, 32))


def test_defect_14_prebatch_sizes_are_checked(write_dataset) -> None:
    folder = write_dataset(train_rows=64, test_rows=32, prebatch=16)
    open_dataset(folder, 24, settings=DataSettings(prebatch_train_size=16)).check()
    with pytest.raises(SettingsError, match=r"prebatch_train_size: got 8, .* have 16 row"):
        open_dataset(folder, 24, settings=DataSettings(prebatch_train_size=8)).check()
    assert read(open_dataset(folder, 24))[0] == [24, 24, 16]


@pytest.mark.parametrize("prebatch", [1, 16])
@pytest.mark.parametrize("bad", [2, -1])
def test_a_label_that_is_not_0_or_1_is_an_error(write_dataset, columns_of, write_records, prebatch, bad) -> None:
    folder = write_dataset(train_rows=60, test_rows=10, prebatch=prebatch)
    columns = columns_of(60, seed=1)
    columns["label"][5] = bad
    write_records(folder / "train.tfrecord", columns, prebatch)
    with pytest.raises(DataError, match=rf"row 5: label label: got {bad}, expected 0 or 1"):
        read(open_dataset(folder, 32))


def test_dimensions_that_do_not_fit_the_records_are_named(write_dataset, raw_spec_of) -> None:
    folder = write_dataset(train_rows=10, test_rows=10)
    spec = FeatureSpec.from_dict(raw_spec_of(history=40), folder)
    features = [f for n, f in spec.features.items() if n != "label"]
    with pytest.raises(DataError, match="item_id_pos: 100 values make no rows of 40"):
        Dataset(spec, "train", features, "label", 4).check()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s["train"][0].update(type="split_binary"), "chunk type 'split_binary' cannot be trained on"),
        (lambda s: s["train"][0]["features"].remove("cat_id_neg"), "cat_id_neg missing; the model needs it"),
    ],
)
def test_source_specs_that_cannot_be_read_are_refused(write_dataset, raw_spec_of, change, expected) -> None:
    folder = write_dataset(train_rows=10, test_rows=10)
    raw = raw_spec_of()
    change(raw["source_spec"])
    spec = FeatureSpec.from_dict(raw, folder)
    with pytest.raises(DataError, match=expected):
        Dataset(spec, "train", [f for n, f in spec.features.items() if n != "label"], "label", 4).check()


def test_a_prebatch_size_larger_than_the_only_record_fits(write_dataset) -> None:
    folder = write_dataset(train_rows=10, test_rows=10, prebatch=16)
    open_dataset(folder, 24, settings=DataSettings(prebatch_train_size=16)).check()
    with pytest.raises(SettingsError, match="prebatch_train_size"):
        open_dataset(folder, 24, settings=DataSettings(prebatch_train_size=8)).check()


def test_a_table_too_large_for_int32_is_refused(write_dataset, raw_spec_of) -> None:
    raw = raw_spec_of()
    raw["feature_spec"]["user_id"]["cardinality"] = 2**31
    spec = FeatureSpec.from_dict(raw, write_dataset(train_rows=10, test_rows=10))
    with pytest.raises(DataError, match="feature user_id: got cardinality 2147483648, expected at most"):
        Dataset(spec, "train", [spec.features["user_id"]], "label", 4).check()
