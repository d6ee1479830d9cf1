"""The command `recserve`: each subcommand lives in its room's cli and is imported only when it is called."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

# subcommand -> (module, attribute, one line of help), in the order in which a newcomer meets them
COMMANDS = {
    "generate": ("training.preprocessing.cli", "generate", "Write a synthetic dataset in raw Amazon form."),
    "preprocess": ("training.preprocessing.cli", "preprocess", "Raw Amazon reviews and metadata -> Parquet."),
    "convert": ("training.preprocessing.cli", "convert", "Parquet -> TFRecord and feature_spec.yaml."),
    "train": ("training.cli", "train", "Train a model; one process, or several under horovodrun."),
    "report": ("training.report.cli", "report", "Draw and compare training runs: curves, ROC, tables, HTML."),
    "export": ("export.cli", "export", "Checkpoint -> SavedModel version in a Triton model repository."),
    "serve": ("serving.cli", "serve", "Serve a model repository with Triton on loopback."),
    "stop": ("serving.cli", "stop", "Stop a server that was started with serve --detach."),
    "score": ("client.cli", "score", "Score rows of a dataset over gRPC."),
    "rank": ("client.rank_cli", "rank", "Rank many candidates for each user over gRPC."),
    "sidecar": ("deploy.sidecar.cli", "sidecar", "Train on each new dataset and publish what is not worse."),
    "versions": ("deploy.versions_cli", "versions", "List, publish, roll back and prune versions by hand."),
    "sweep": ("perf.cli", "sweep", "Measure throughput and latency; table, CSV and HTML report."),
}


class LazyGroup(click.Group):
    """A group that lists its commands from COMMANDS, without importing TensorFlow or anything else."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="recserve")
def cli() -> None:
    """Train click-through-rate recommenders, serve them on Triton, measure them.

    The usual path: preprocess, convert, train, export, serve, score, sweep. `COMMAND --help` shows
    every option with its default and unit. Set RECSERVE_DEBUG=1 to see tracebacks of errors.
    """


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command. Errors that are a user's to solve end in one message and exit code 1."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up chatter; its errors raise
    try:
        cli.main(args=args, prog_name="recserve")
    except Exception as error:
        if os.environ.get("RECSERVE_DEBUG") or not getattr(error, "user_facing", False):
            raise
        click.secho(f"Error: {error}", fg="red", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
