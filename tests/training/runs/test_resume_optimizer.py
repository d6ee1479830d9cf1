"""Resuming with another optimizer: one that needs moments cannot go on after one that has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.errors import CheckpointError

OPTIONS = ("--long_seq_length", 12, "--k", 5, "--global_batch_size", 800)


def test_adam_does_not_go_on_after_sgd_but_sgd_does_after_adam(fast_dataset: Path, tmp_path: Path, train) -> None:
    for first, second in (("sgd", "adam"), ("adam", "sgd")):
        folder = tmp_path / first / "ck"
        save = ("--save_checkpoint_path", folder)
        train(fast_dataset, tmp_path, *OPTIONS, "--epochs", 1, "--optimizer", first, *save)
        again = (*OPTIONS, "--epochs", 2, "--optimizer", second, "--load_checkpoint_path", folder, *save)
        if second == "adam":
            with pytest.raises(CheckpointError, match=r"optimizer: got adam, .* trained with sgd and has no moments"):
                train(fast_dataset, tmp_path, *again)
        else:
            train(fast_dataset, tmp_path, *again)
            assert (folder / "epoch-0002").is_dir()
