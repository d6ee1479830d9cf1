"""`recserve generate`, `recserve preprocess` and `recserve convert`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

CONTEXT = {"show_default": True, "help_option_names": ["-h", "--help"]}
AT_LEAST_1 = click.IntRange(min=1)
NOT_NEGATIVE = click.IntRange(min=0)
FOLDER = click.Path(path_type=Path)


@click.command(context_settings=CONTEXT)
@click.option("--output_path", type=FOLDER, required=True, help="Folder for the raw files.")
@click.option("--name", default="Synthetic", help="The files are reviews_NAME.json.gz and meta_NAME.json.gz.")
@click.option("--users", type=AT_LEAST_1, default=2000, help="Number of users.")
@click.option("--items", type=click.IntRange(min=2), default=2000, help="Number of items.")
@click.option("--categories", type=AT_LEAST_1, default=40, help="Number of categories; at most as many as items.")
@click.option(
    "--mean_interactions", type=click.FloatRange(min=2), default=40.0,
    help="Interactions per user on average; repeated items are left out, so fewer remain.",
)  # fmt: skip
@click.option("--seed", type=NOT_NEGATIVE, default=12345, help="The same seed gives the same files, byte by byte.")
def generate(**options: Any) -> None:
    """Write a synthetic dataset in raw Amazon 2014 form.

    Users have favourite categories that drift, popularity has a long tail, and some items lack metadata: there
    is something to learn, and something to clean.

    \b
    Example:
      recserve generate --output_path data/raw --users 2000 --items 2000
    """
    from training.preprocessing.synthetic import GenerateOptions, generate_dataset

    click.echo(generate_dataset(GenerateOptions(**options)).describe())


@click.command(context_settings=CONTEXT)
@click.option("--amazon_dataset_path", type=FOLDER, required=True, help="Folder with the raw files.")
@click.option("--output_path", type=FOLDER, required=True, help="Folder for the Parquet dataset.")
@click.option("--metadata_file_name", help="Metadata file in that folder; by default the only meta_*.json[.gz].")
@click.option("--reviews_file_name", help="Reviews file in that folder; by default the only reviews_*.json[.gz].")
@click.option("--max_sequence_length", type=AT_LEAST_1, default=100, help="Items of history per row, the newest.")
@click.option(
    "--shortest_sequence_for_user", type=click.IntRange(min=2), default=20,
    help="Users with fewer interactions are dropped.",
)  # fmt: skip
@click.option(
    "--shortest_sequence_for_training", type=AT_LEAST_1, default=1, help="Least items of history of a training row."
)
@click.option(
    "--prefixes_per_user", type=NOT_NEGATIVE, default=0,
    help="Only the last so many training prefixes of each user; 0: all.",
)  # fmt: skip
@click.option(
    "--negative_sampling", type=click.Choice(["uniform", "popularity"]), default="uniform",
    help="Draw negatives from all items alike, or from the list of interactions.",
)  # fmt: skip
@click.option("--validation_split", is_flag=True, help="Each user's last training prefix becomes a validation row.")
@click.option("--timestamps", is_flag=True, help="Add columns with the times of targets and positive histories.")
@click.option("--seed", type=NOT_NEGATIVE, default=12345, help="Seed of negatives and order of rows.")
@click.option(
    "--max_malformed_share", type=click.FloatRange(0, 1), default=0.01,
    help="Share (0..1) of a file's lines that may be unusable; more is an error.",
)  # fmt: skip
@click.option("--rows_per_part", type=AT_LEAST_1, default=262_144, help="Rows per Parquet file.")
@click.option(
    "--memory_limit_mb", type=click.IntRange(min=128), default=512,
    help="Memory in MB for sorting and grouping; what needs more spills to disk beside the output.",
)  # fmt: skip
def preprocess(**options: Any) -> None:
    """Raw Amazon 2014 reviews and metadata -> Parquet.

    Every review is a positive interaction. A user's last item is the test target; each earlier prefix is a
    training row. Each positive row is followed by a negative one. docs/data.md has the rules.

    \b
    Example:
      recserve preprocess --amazon_dataset_path data/raw --output_path data/parquet
    """
    from training.preprocessing.amazon_dataset import PreprocessOptions, preprocess_amazon
    from training.preprocessing.samples import SampleRules

    rules = SampleRules(**{rule.name: options.pop(rule.name) for rule in dataclasses.fields(SampleRules)})
    result = preprocess_amazon(PreprocessOptions(rules=rules, **options))
    click.echo(result.describe())


@click.command(context_settings=CONTEXT)
@click.option("--amazon_dataset_path", type=FOLDER, required=True, help="Folder of the Parquet dataset.")
@click.option("--tfrecord_output_dir", type=FOLDER, required=True, help="Folder for TFRecord and feature_spec.yaml.")
@click.option("--number_of_user_features", type=AT_LEAST_1, default=1, help="User feature columns after the label.")
@click.option("--max_seq_len", type=AT_LEAST_1, default=100, help="Items of history per row; shorter ones are padded.")
@click.option("--prebatch_train_size", type=NOT_NEGATIVE, default=0, help="Rows per train record; 0: a row per record.")
@click.option(
    "--prebatch_test_size", type=NOT_NEGATIVE, default=0, help="Rows per test and validation record; 0: a row."
)
@click.option("--train_split_dir", default="train", help="Folder of the train Parquet files.")
@click.option("--test_split_dir", default="test", help="Folder of the test Parquet files.")
@click.option(
    "--validation_split_dir", default="validation", help="Folder of the validation Parquet files, if there is one."
)
@click.option("--metadata_file", default="metadata.json", help="File with the cardinalities.")
@click.option("--train_output_file", default="train.tfrecord", help="Name of the train file.")
@click.option("--test_output_file", default="test.tfrecord", help="Name of the test file.")
@click.option("--validation_output_file", default="validation.tfrecord", help="Name of the validation file.")
def convert(**options: Any) -> None:
    """Parquet -> TFRecord and feature_spec.yaml.

    Takes the output of `recserve preprocess`, or any Parquet dataset with a metadata.json and its columns in
    this order: label, user features, target item features, positive histories, negative histories.

    \b
    Example:
      recserve convert --amazon_dataset_path data/parquet --tfrecord_output_dir data/tfrecord
    """
    from training.preprocessing.tfrecord_dataset import ConvertOptions, convert_parquet

    click.echo(convert_parquet(ConvertOptions(**options)).describe())
