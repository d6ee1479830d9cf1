"""Parquet -> TFRecord: records, prebatched or not, and the specification."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tests.training.preprocessing.byo import T, expected, flattened
from training.feature_spec import FeatureSpec
from training.preprocessing.tfrecord_dataset import ConvertOptions, convert_parquet


def test_plain_records_hold_the_rows_padded_on_the_left(
    convert: Callable, byo_rows: Callable, read_records: Callable
) -> None:
    output = convert()
    assert read_records(output / "train.tfrecord") == expected(byo_rows(23, 1))
    assert read_records(output / "test.tfrecord") == expected(byo_rows(10, 2))
    assert sorted(p.name for p in output.iterdir()) == [
        ".recserve",
        "feature_spec.yaml",
        "test.tfrecord",
        "train.tfrecord",
    ]


def test_longer_histories_keep_the_newest(convert: Callable, byo_rows: Callable, read_records: Callable) -> None:
    rows = byo_rows(2)
    for name in ("sku_seen", "shelf_seen", "colour_seen"):
        rows[name] = [[1, 2, 3, 1, 2, 3, 1], [3]]
    output = convert(train=rows)
    first, second = read_records(output / "train.tfrecord")
    assert first["sku_seen"] == [3, 1, 2, 3, 1]
    assert second["sku_seen"] == [0, 0, 0, 0, 3]


def test_the_specification_names_the_columns_and_sizes(convert: Callable) -> None:
    spec = FeatureSpec.load(convert() / "feature_spec.yaml", check_files=True)
    assert spec.channels == {
        "label": ("clicked",),
        "user_features": ("who", "age"),
        "target_item_features": ("sku_now", "shelf_now", "colour_now"),
        "positive_history": ("sku_seen", "shelf_seen", "colour_seen"),
        "negative_history": ("sku_unseen", "shelf_unseen", "colour_unseen"),
    }
    sizes = {"who": 9, "age": 4, "sku": 50, "shelf": 6, "colour": 3}
    for name, feature in spec.features.items():
        assert feature.dtype == (np.bool_ if name == "clicked" else np.int64)
        assert feature.cardinality == sizes.get(name.split("_")[0])
        assert feature.dimensions == ((T,) if name.endswith("seen") else ())
    assert spec.mapping("train")[0].features == tuple(spec.features)
    assert spec.metadata["rows"] == {"train": 23, "test": 10}
    assert spec.metadata["prebatch_train_size"] == spec.metadata["prebatch_test_size"] == 0


def test_our_own_parquet_gives_the_seeds_specification(tmp_path: Path, write_raw: Callable) -> None:
    from training.preprocessing.amazon_dataset import PreprocessOptions, preprocess_amazon

    reviews = [(f"U{u}", f"i{(u + n) % 7}", n) for u in range(3) for n in range(4)]
    metadata = [{"asin": f"i{i}", "categories": [[f"c{i % 2}"]]} for i in range(7)]
    raw = write_raw(tmp_path / "raw", reviews, metadata)
    preprocess_amazon(PreprocessOptions(raw, tmp_path / "parquet", shortest_sequence_for_user=3))
    spec = convert_parquet(ConvertOptions(tmp_path / "parquet", tmp_path / "tfrecord")).spec
    history = {"dtype": "int64", "dimensions": [100]}
    written = spec.to_dict()
    assert written["feature_spec"] == {
        "label": {"dtype": "bool"},
        "user_id": {"dtype": "int64", "cardinality": 3},
        "item_id_trgt": {"dtype": "int64", "cardinality": 6},
        "cat_id_trgt": {"dtype": "int64", "cardinality": 2},
        "item_id_pos": {**history, "cardinality": 6},
        "cat_id_pos": {**history, "cardinality": 2},
        "item_id_neg": {**history, "cardinality": 6},
        "cat_id_neg": {**history, "cardinality": 2},
    }
    assert written["channel_spec"] == {
        "label": ["label"],
        "user_features": ["user_id"],
        "target_item_features": ["item_id_trgt", "cat_id_trgt"],
        "positive_history": ["item_id_pos", "cat_id_pos"],
        "negative_history": ["item_id_neg", "cat_id_neg"],
    }
    for split in ("train", "test"):
        chunk = {"type": "tfrecord", "features": list(written["feature_spec"]), "files": [f"{split}.tfrecord"]}
        assert written["source_spec"][split] == [chunk]


def test_prebatched_records_hold_flat_columns_and_the_rest_is_apart(
    convert: Callable, byo_rows: Callable, read_records: Callable
) -> None:
    output = convert(prebatch_train_size=4, prebatch_test_size=3)
    spec = FeatureSpec.load(output / "feature_spec.yaml", check_files=True)
    assert (spec.metadata["prebatch_train_size"], spec.metadata["prebatch_test_size"]) == (4, 3)
    for split, size, rows in (("train", 4, expected(byo_rows(23, 1))), ("test", 3, expected(byo_rows(10, 2)))):
        files = [output / f"{split}.tfrecord", output / f"{split}.remainder.tfrecord"]
        assert list(spec.mapping(split)[0].files) == files
        whole = len(rows) - len(rows) % size
        assert read_records(files[0]) == [flattened(rows[i : i + size]) for i in range(0, whole, size)]
        assert read_records(files[1]) == [flattened(rows[whole:])]


def test_a_split_smaller_than_a_record_has_its_rows_in_the_remainder(convert: Callable, read_records: Callable) -> None:
    output = convert(prebatch_train_size=64)
    assert read_records(output / "train.tfrecord") == []
    assert len(read_records(output / "train.remainder.tfrecord")[0]["clicked"]) == 23


def test_rows_are_rebatched_over_many_reads(convert: Callable, byo_rows: Callable, read_records: Callable) -> None:
    rows = byo_rows(9000)
    output = convert(train=rows, prebatch_train_size=1000)
    records = read_records(output / "train.tfrecord")
    assert [len(r["clicked"]) for r in records] == [1000] * 9
    assert [label for r in records for label in r["clicked"]] == rows["clicked"]


def test_defect_1_label_0_rows_that_end_in_zero_bytes_stay_whole(
    convert: Callable, byo_rows: Callable, read_records: Callable
) -> None:
    rows = byo_rows(6)
    rows["clicked"] = [0] * 6
    for name in rows:
        if name.endswith("seen"):
            rows[name] = [[]] * 6  # all padding: each record ends in zero bytes
    types = {name: pa.list_(pa.int64()) for name in rows if name.endswith("seen")}
    plain = convert(train=rows, types=types)
    assert read_records(plain / "train.tfrecord") == expected(rows)
    assert next(_raw_records(plain / "train.tfrecord")).endswith(bytes(T))
    batched = convert(train=rows, types=types, prebatch_train_size=3)
    assert read_records(batched / "train.tfrecord") == [flattened(expected(rows)[i : i + 3]) for i in (0, 3)]


def _raw_records(path: Path) -> Any:
    import tensorflow as tf

    return tf.data.TFRecordDataset(str(path)).as_numpy_iterator()


def test_defect_2_an_exact_multiple_has_no_remainder_and_test_has_its_own(
    convert: Callable, byo_rows: Callable, read_records: Callable
) -> None:
    train, test = byo_rows(12, 1), byo_rows(10, 2)
    output = convert(train=train, test=test, prebatch_train_size=4, prebatch_test_size=4)
    assert not (output / "train.remainder.tfrecord").exists()
    assert [f.name for f in FeatureSpec.load(output / "feature_spec.yaml").mapping("train")[0].files] == [
        "train.tfrecord"
    ]
    assert read_records(output / "test.remainder.tfrecord") == [flattened(expected(test)[8:])]
    again = convert(train=train, test=byo_rows(8, 2), prebatch_train_size=4, prebatch_test_size=4)
    assert not (again / "test.remainder.tfrecord").exists()
    assert len(read_records(again / "test.tfrecord")) == 2


def test_training_reads_both_forms_alike(convert: Callable, tmp_path: Path) -> None:
    from training.input_pipeline import Dataset

    columns = []
    for name, size in (("plain", 0), ("batched", 4)):
        output = convert(output=tmp_path / name, prebatch_train_size=size)
        spec = FeatureSpec.load(output / "feature_spec.yaml")
        features = [f for f in spec.features.values() if f.name != "clicked"]
        batches = list(Dataset(spec, "train", features, "clicked", batch_size=8).batches())
        columns.append({f.name: np.concatenate([b.features[f.name].numpy() for b in batches]) for f in features})
    for name, values in columns[0].items():
        np.testing.assert_array_equal(values, columns[1][name])


def test_the_fingerprint_is_of_the_rows_not_of_their_form(convert: Callable, byo_rows: Callable) -> None:
    def fingerprint(**options: Any) -> str:
        return FeatureSpec.load(convert(**options) / "feature_spec.yaml").metadata["data_fingerprint"]

    plain = fingerprint()
    assert plain == fingerprint(prebatch_train_size=4)
    assert plain == fingerprint(types={"sku_now": pa.int16(), "sku_seen": pa.list_(pa.int64())})
    changed = byo_rows(23, 1)
    changed["age"][5] = 5 - changed["age"][5]
    assert plain != fingerprint(train=changed)
    assert plain != fingerprint(max_seq_len=6)
