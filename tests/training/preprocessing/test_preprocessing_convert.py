"""Parquet -> TFRecord: what is written, in both forms, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.errors import DataError
from training.feature_spec import FeatureSpec
from training.preprocessing.tfrecord_dataset import ConvertOptions, convert_parquet

T = 5
Rows = dict[str, list[Any]]


@pytest.fixture
def convert(tmp_path: Path, write_byo: Callable[..., Path]) -> Callable[..., Path]:
    """convert(train=…, test=…, types=…, **options) -> output folder of a bring-your-own dataset."""

    def run(train: Any = None, test: Any = None, types: Any = None, **options: Any) -> Path:
        shutil.rmtree(tmp_path / "parquet", ignore_errors=True)
        source = write_byo(tmp_path / "parquet", train, test, types)
        defaults = {"number_of_user_features": 2, "max_seq_len": T}
        output = options.pop("output", tmp_path / "tfrecord")
        convert_parquet(ConvertOptions(source, output, **(defaults | options)))
        return output

    return run


def padded(values: Any) -> list[int]:
    """What a cell must look like in a record."""
    if not isinstance(values, list):
        return [int(values)]
    return ([0] * T + values)[-T:]


def expected(rows: Rows) -> list[dict[str, list[int]]]:
    return [{n: padded(v[i]) for n, v in rows.items()} for i in range(len(next(iter(rows.values()))))]


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


def flattened(rows: list[dict[str, list[int]]]) -> dict[str, list[int]]:
    return {name: [value for row in rows for value in row[name]] for name in rows[0]}


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


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("clicked", pa.bool_()),
        ("clicked", pa.float32()),
        ("clicked", pa.int8()),
        ("sku_now", pa.uint64()),
        ("sku_now", pa.int8()),
        ("sku_seen", pa.large_list(pa.int32())),
        ("sku_seen", pa.list_(pa.uint16())),
    ],
)
def test_any_integer_width_and_list_kind_is_read(
    convert: Callable, byo_rows: Callable, read_records: Callable, column: str, kind: Any
) -> None:
    rows = byo_rows(23, 1)
    make = {pa.bool_(): bool, pa.float32(): float}.get(kind, lambda value: value)
    values = [make(v) for v in rows[column]]
    output = convert(train={**rows, column: pa.array(values, kind)})
    assert read_records(output / "train.tfrecord") == expected(rows)


def test_fixed_size_lists_are_read(convert: Callable, byo_rows: Callable, read_records: Callable) -> None:
    rows = byo_rows(6)
    names = ("sku_seen", "shelf_seen", "colour_seen")
    rows |= {name: [[1, 2, 3, 1, 2]] * 3 + [[3, 3, 3, 3, 3]] * 3 for name in names}
    output = convert(train={n: pa.array(v, pa.list_(pa.int32(), T)) if n in names else v for n, v in rows.items()})
    assert read_records(output / "train.tfrecord") == expected(rows)


def break_value(name: str, row: int, value: Any) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        rows[name][row] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [  # row 5 is row 1 of part.2.parquet: two rows per part
        (break_value("sku_now", 5, 51), "part.2.parquet, row 1: feature sku_now: got 51, expected an id in 0..50"),
        (break_value("who", 4, -1), "part.2.parquet, row 0: feature who: got -1, expected an id in 0..9"),
        (break_value("shelf_now", 3, 7), "part.1.parquet, row 1: feature shelf_now: got 7, expected an id in 0..6"),
        (break_value("clicked", 5, 2), "part.2.parquet, row 1: feature clicked: got 2, expected 0 or 1"),
        (break_value("age", 5, None), "part.2.parquet, row 1: feature age: got null"),
        (break_value("sku_seen", 5, None), "part.2.parquet, row 1: feature sku_seen: got null"),
    ],
)
def test_bad_values_name_file_row_feature_value_and_limit(
    convert: Callable, byo_rows: Callable, tmp_path: Path, change: Callable[[Rows], None], message: str
) -> None:
    rows = byo_rows(23, 1)
    change(rows)
    with pytest.raises(DataError) as error:
        convert(train=rows)
    assert f"{tmp_path / 'parquet' / 'train'}/{message}" in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["parquet"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1, 2], [3, 51, 1]], "row 1: feature sku_seen, position 1: got 51, expected an id in 0..50"),
        ([[1, 2], [3, -7, 1]], "row 1: feature sku_seen, position 1: got -7"),
        ([[1, None], [3, 1, 1]], "row 0: feature sku_seen, position 1: got null"),
        ([[1, 2], [3, 1]], "row 1: feature shelf_seen: got a history of 3 items, but sku_seen has 2"),
    ],
)
def test_bad_histories_name_the_position(convert: Callable, byo_rows: Callable, values: Any, message: str) -> None:
    rows = byo_rows(2)
    rows |= {"sku_seen": values, "shelf_seen": [[1, 2], [3, 1, 1]], "colour_seen": [[1, 2], [3, 1, 1]]}
    with pytest.raises(DataError) as error:
        convert(test=rows)
    assert f"test/part.0.parquet, {message}" in str(error.value)


def test_a_nan_label_is_refused(convert: Callable, byo_rows: Callable) -> None:
    rows = byo_rows(2)
    rows["clicked"] = [1.0, float("nan")]
    with pytest.raises(DataError, match="row 1: feature clicked: got nan, expected 0 or 1"):
        convert(train=rows)


@pytest.mark.parametrize(
    ("column", "kind", "message"),
    [
        ("sku_now", pa.string(), "column sku_now: got type string, expected an integer"),
        ("who", pa.float64(), "column who: got type double, expected an integer"),
        ("sku_seen", pa.list_(pa.float32()), "column sku_seen: got type list<.*float>, expected a list of integers"),
        ("clicked", pa.string(), "column clicked: got type string, expected 0 or 1"),
    ],
)
def test_wrong_column_types_are_refused(
    convert: Callable, byo_rows: Callable, column: str, kind: Any, message: str
) -> None:
    rows = byo_rows(23, 1)
    values = [str(v) for v in rows[column]] if kind == pa.string() else rows[column]
    with pytest.raises(DataError, match=f"part.0.parquet: {message}"):
        convert(train={**rows, column: pa.array(values, kind)})


def test_a_scalar_where_a_history_should_be_is_refused(convert: Callable, byo_rows: Callable) -> None:
    rows = byo_rows(2)
    rows["sku_unseen"] = [1, 2]
    with pytest.raises(DataError, match="column sku_unseen: got type int64, expected a list of integers"):
        convert(train=rows)


def test_missing_and_extra_columns_are_refused(convert: Callable, byo_rows: Callable) -> None:
    rows = byo_rows(2)
    missing = {n: v for n, v in rows.items() if n != "colour_now"}
    with pytest.raises(DataError, match=r"got 11 columns .* expected 12: 1 label, 2 user features, 3 times 3 item"):
        convert(train=missing)
    with pytest.raises(DataError, match="got 13 columns"):
        convert(train={**rows, "when": [1, 2]})
    with pytest.raises(DataError, match=r"test/part.0.parquet: got columns .*; expected, in this order, clicked, who"):
        convert(test=missing)


def test_equal_column_names_are_refused(convert: Callable, byo_rows: Callable, tmp_path: Path) -> None:
    source = tmp_path / "parquet"
    convert()
    table = pq.read_table(source / "test" / "part.0.parquet")
    for split in ("train", "test"):
        shutil.rmtree(source / split)
        (source / split).mkdir()
        names = ["age" if n == "who" else n for n in table.column_names]
        pq.write_table(table.rename_columns(names), source / split / "part.0.parquet")
    with pytest.raises(DataError, match="expected a different name for each"):
        convert_parquet(ConvertOptions(source, tmp_path / "out", number_of_user_features=2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not the expected structure"),
        ('{"sizes": []}', "not the expected structure"),
        ('{"cardinalities": [{"name": "uid"}]}', "not the expected structure"),
        (
            '{"cardinalities": [{"name": "uid", "value": "9"}]}',
            "cardinality of 'uid': got '9', expected a whole number",
        ),
        ('{"cardinalities": [{"name": "uid", "value": 0}]}', "cardinality of 'uid': got 0"),
        ('{"cardinalities": [{"name": "uid", "value": 9}]}', "leaves none for item features"),
        (None, "cannot be read"),
    ],
)
def test_bad_metadata_is_refused(tmp_path: Path, write_byo: Callable, content: str | None, message: str) -> None:
    source = write_byo(tmp_path / "parquet")
    if content is None:
        (source / "metadata.json").unlink()
    else:
        (source / "metadata.json").write_text(content)
    with pytest.raises(DataError, match=message):
        convert_parquet(ConvertOptions(source, tmp_path / "out"))


def test_missing_damaged_and_empty_splits_are_refused(convert: Callable, byo_rows: Callable, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="elsewhere: no such folder"):
        convert(test_split_dir="elsewhere")
    with pytest.raises(DataError, match=r"test: no rows"):
        convert(test={n: pa.array([], pa.list_(pa.int64()) if n.endswith("seen") else pa.int64()) for n in byo_rows(1)})
    convert()
    damaged = tmp_path / "parquet" / "train" / "part.3.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"part.3.parquet: cannot be read as Parquet"):
        convert_parquet(ConvertOptions(tmp_path / "parquet", tmp_path / "out", number_of_user_features=2))
    shutil.rmtree(tmp_path / "parquet" / "train")
    (tmp_path / "parquet" / "train").mkdir()
    with pytest.raises(DataError, match=r"no \*.parquet files"):
        convert_parquet(ConvertOptions(tmp_path / "parquet", tmp_path / "out", number_of_user_features=2))


def test_damaged_pages_are_refused(tmp_path: Path, write_byo: Callable, byo_rows: Callable) -> None:
    source = write_byo(tmp_path / "parquet", test=byo_rows(50))
    file = source / "test" / "part.0.parquet"
    content = bytearray(file.read_bytes())
    content[4:200] = bytes(196)
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"part.0.parquet, after row 0: damaged"):
        convert_parquet(ConvertOptions(source, tmp_path / "out", number_of_user_features=2))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_output_file": "a/b"}, "expected a plain file name"),
        ({"train_output_file": "feature_spec.yaml"}, "is needed for another file"),
        ({"test_output_file": "train.remainder.tfrecord"}, "is needed for another file"),
        ({"test_output_file": "train.tfrecord"}, "expected different names"),
        ({"validation_output_file": "test.tfrecord"}, "expected different names"),
        ({"validation_split_dir": "january"}, "january: no such folder"),
    ],
)
def test_output_names_that_clash_are_refused(convert: Callable, options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        convert(**options)


def test_names_of_inputs_and_outputs_can_be_chosen(tmp_path: Path, write_byo: Callable, read_records: Callable) -> None:
    source = write_byo(tmp_path / "parquet")
    (source / "train").rename(source / "january")
    (source / "test").rename(source / "february")
    (source / "metadata.json").rename(source / "sizes.json")
    result = convert_parquet(
        ConvertOptions(
            source, tmp_path / "out", 2, T, train_split_dir="january", test_split_dir="february",
            metadata_file="sizes.json", train_output_file="a.tfrecord", test_output_file="b.tfrecord",
        )
    )  # fmt: skip
    assert [f.name for f in result.spec.mapping("train")[0].files] == ["a.tfrecord"]
    assert len(read_records(tmp_path / "out" / "b.tfrecord")) == 10
    text = result.describe()
    assert "size: a.tfrecord" in text
    assert any(line.split() == ["train", "rows", "23"] for line in text.splitlines())


def test_parts_are_taken_by_number(
    tmp_path: Path, write_byo: Callable, byo_rows: Callable, read_records: Callable
) -> None:
    source = write_byo(tmp_path / "parquet", train=byo_rows(24))  # part.0 … part.11
    (source / "train" / "._part.0.parquet").write_bytes(b"left by another system")
    (source / "train" / "_SUCCESS").touch()
    convert_parquet(ConvertOptions(source, tmp_path / "out", number_of_user_features=2, max_seq_len=T))
    assert [r["clicked"][0] for r in read_records(tmp_path / "out" / "train.tfrecord")] == byo_rows(24)["clicked"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, write_byo: Callable) -> None:
    """A limit on the size of files, in a process of its own, is as good as a full disk."""
    source = write_byo(tmp_path / "parquet")
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from training.errors import DataError\n"
        "from training.preprocessing.tfrecord_dataset import ConvertOptions, convert_parquet\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))\n"
        "try: convert_parquet(ConvertOptions(Path(sys.argv[1]), Path(sys.argv[2]), 2))\n"
        "except DataError as error: sys.exit(str(error))\n"
    )
    command = [sys.executable, "-c", script, str(source), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "train.tfrecord: cannot be written: File too large. Is there room on the disk?" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["parquet"]


# validation, groups and times


TIMES = {"target": "seconds_now", "history": "seconds_seen"}


def with_times(rows: Rows) -> Rows:
    times = [[1_400_000_000 + i for i in range(len(history))] for history in rows["sku_seen"]]
    return {**rows, "seconds_now": [1_500_000_000 + i for i in range(len(times))], "seconds_seen": times}


def add_metadata(source: Path, **entries: Any) -> None:
    path = source / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_a_validation_split_is_converted_like_test(
    tmp_path: Path, write_byo: Callable, byo_rows: Callable, read_records: Callable
) -> None:
    source = write_byo(tmp_path / "parquet")
    shutil.copytree(source / "test", source / "validation")
    options = {"number_of_user_features": 2, "max_seq_len": T, "prebatch_test_size": 4}
    result = convert_parquet(ConvertOptions(source, tmp_path / "out", **options))
    assert result.spec.metadata["rows"] == {"train": 23, "validation": 10, "test": 10}
    files = [f.name for f in result.spec.mapping("validation")[0].files]
    assert files == ["validation.tfrecord", "validation.remainder.tfrecord"]
    expected_rows = expected(byo_rows(10, 2))
    assert read_records(tmp_path / "out" / files[0]) == [flattened(expected_rows[i : i + 4]) for i in (0, 4)]
    assert any(line.split() == ["validation", "rows", "10"] for line in result.describe().splitlines())


def test_groups_and_times_reach_the_specification(
    tmp_path: Path, write_byo: Callable, byo_rows: Callable, read_records: Callable
) -> None:
    train, test = with_times(byo_rows(23, 1)), with_times(byo_rows(10, 2))
    source = write_byo(tmp_path / "parquet", train, test)
    add_metadata(source, rows_per_group=2, timestamps=TIMES)
    spec = convert_parquet(ConvertOptions(source, tmp_path / "out", 2, T)).spec
    assert spec.metadata["rows_per_group"] == 2
    assert spec.channels["target_timestamp"] == ("seconds_now",)
    assert spec.channels["history_timestamps"] == ("seconds_seen",)
    assert spec.channels["negative_history"] == ("sku_unseen", "shelf_unseen", "colour_unseen")
    written = spec.to_dict()["feature_spec"]
    assert written["seconds_now"] == {"dtype": "int64"}
    assert written["seconds_seen"] == {"dtype": "int64", "dimensions": [T]}
    assert read_records(tmp_path / "out" / "train.tfrecord") == expected(train)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"rows_per_group": 0}, "rows_per_group: got 0, expected a whole number >= 1"),
        ({"timestamps": ["a", "b"]}, r"timestamps: got \['a', 'b'\], expected"),
        ({"timestamps": {"target": "seconds_now"}}, "timestamps: got .*expected"),
        ({"timestamps": {"target": "seconds_seen", "history": "seconds_now"}}, "the last columns are seconds_now, sec"),
        ({}, "got 14 columns .*expected 12"),
    ],
)
def test_metadata_that_does_not_fit_the_columns_is_refused(
    tmp_path: Path, write_byo: Callable, byo_rows: Callable, entries: dict, message: str
) -> None:
    source = write_byo(tmp_path / "parquet", with_times(byo_rows(4)), with_times(byo_rows(4)))
    add_metadata(source, **entries)
    with pytest.raises(DataError, match=message):
        convert_parquet(ConvertOptions(source, tmp_path / "out", 2, T))


def test_times_of_another_length_than_the_history_are_refused(
    tmp_path: Path, write_byo: Callable, byo_rows: Callable
) -> None:
    rows = with_times(byo_rows(4))
    rows["seconds_seen"][2] = [1] * 9
    source = write_byo(tmp_path / "parquet", rows, with_times(byo_rows(4)))
    add_metadata(source, timestamps=TIMES)
    with pytest.raises(DataError, match="row 0: feature seconds_seen: got a history of 9 items, but sku_seen has"):
        convert_parquet(ConvertOptions(source, tmp_path / "out", 2, T))
