"""`recserve export`, in this process."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from recserve import cli


def export(checkpoint: Path, models: Path, *options: str) -> str:
    """What it prints; its errors are raised."""
    arguments = ["export", "--checkpoint", str(checkpoint), "--model_repository", str(models), *options]
    result = CliRunner().invoke(cli, arguments)
    if result.exception is not None:
        raise result.exception
    return result.stdout
