"""Whole or not at all, and nothing of the user's is deleted."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from training.errors import DataError
from training.preprocessing.output_folder import staged_folder


def write(output: Path, kind: str = "convert", text: str = "new", inputs: tuple[Path, ...] = ()) -> None:
    with staged_folder(output, kind, inputs) as staging:
        (staging / "data.txt").write_text(text)


def test_our_own_earlier_output_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "out", text="old")
    write(tmp_path / "deep" / "out")
    assert (tmp_path / "deep" / "out" / "data.txt").read_text() == "new"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]


def test_an_empty_folder_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out")
    assert (tmp_path / "out" / "data.txt").exists()


def test_a_failure_leaves_the_earlier_output_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "out", text="old")
    with pytest.raises(KeyboardInterrupt), staged_folder(tmp_path / "out", "convert") as staging:
        (staging / "half").touch()
        raise KeyboardInterrupt
    assert (tmp_path / "out" / "data.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_foreign_folders_are_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="not written by recserve"):
        write(tmp_path / "out")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"


def test_foreign_files_in_our_folder_are_never_deleted(tmp_path: Path) -> None:
    write(tmp_path / "out")
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match=r"did not write: thesis.txt"):
        write(tmp_path / "out")
    assert (tmp_path / "out" / "thesis.txt").exists()


def test_files_that_come_while_we_work_are_not_deleted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not written by recserve"), staged_folder(tmp_path / "out", "convert"):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.txt").touch()
    assert (tmp_path / "out" / "thesis.txt").exists()


def test_the_output_of_another_command_is_not_replaced(tmp_path: Path) -> None:
    write(tmp_path / "out", kind="preprocess")
    with pytest.raises(DataError, match="`recserve preprocess`, not of `recserve convert`"):
        write(tmp_path / "out", kind="convert")


def test_a_damaged_marker_is_no_permission(tmp_path: Path) -> None:
    write(tmp_path / "out")
    (tmp_path / "out" / ".recserve").write_text("[1]")
    with pytest.raises(DataError, match="not written by recserve"):
        write(tmp_path / "out")


def test_the_input_is_not_replaced(tmp_path: Path) -> None:
    write(tmp_path / "out")
    with pytest.raises(DataError, match="would replace the input"):
        write(tmp_path / "out", inputs=(tmp_path / "out",))
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with pytest.raises(DataError, match="would replace the input"):
        write(tmp_path / "link", inputs=(tmp_path / "out" / "train",))


def test_a_file_of_that_name_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(DataError, match="there is a file of this name"):
        write(tmp_path / "out")


def test_disk_errors_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No space left"), staged_folder(tmp_path / "out", "convert"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_sigterm_cleans_up(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from training.preprocessing.output_folder import staged_folder\n"
        "with staged_folder(Path(sys.argv[1]), 'convert'):\n    print('inside', flush=True)\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    with subprocess.Popen(command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "inside\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
