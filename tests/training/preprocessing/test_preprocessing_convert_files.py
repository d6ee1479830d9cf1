"""Parquet -> TFRecord: the names and the order of files, and files that cannot be read or written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from tests.training.preprocessing.byo import T
from training.errors import DataError
from training.preprocessing.tfrecord_dataset import ConvertOptions, convert_parquet


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
