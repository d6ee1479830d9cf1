"""Every parameter of a run, once: name, default and help. Recipe YAML first, then flags; unknown keys are errors.

The names and defaults are those of the seed's parameter table. The groups below are only for reading: a
recipe is one flat mapping, and `Settings.to_flat` gives it back.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from training.errors import SettingsError

MODEL_TYPES = ("sim", "din", "dien")
OPTIMIZERS = ("adam", "lazy_adam", "sgd")
ATTENTIONS = ("dot", "bilinear", "activation_unit", "multi_head")
SEARCHES = ("soft", "hard")
AUGRU_FORMS = ("paper", "reference")
SCHEDULES = ("constant", "linear", "cosine")
BEST_METRICS = ("auc", "gauc", "loss")
MODES = ("train", "inference")
AFFINITIES = (
    "none", "socket", "single", "single_unique", "socket_unique_interleaved", "socket_unique_contiguous",
)  # fmt: skip


def option(
    default: Any, help: str, choices: tuple[str, ...] = (), minimum: float | None = None, below: float | None = None
) -> Any:
    return field(default=default, metadata={"help": help, "choices": choices, "minimum": minimum, "below": below})


@dataclass(frozen=True)
class ModelSettings:
    """What a model is built from; it travels with the checkpoint."""

    model_type: str = option("sim", "Model to train.", choices=MODEL_TYPES)
    embedding_dim: int = option(16, "Embedding width D of every user and item feature.", minimum=1)
    stage_one_mlp_dims: tuple[int, ...] = option((200,), "Hidden widths of the stage-one (GSU) classifier.")
    stage_two_mlp_dims: tuple[int, ...] = option((200, 80), "Hidden widths of the final classifier.")
    aux_mlp_dims: tuple[int, ...] = option((100, 50), "Hidden widths of the auxiliary-loss network.")
    long_seq_length: int = option(90, "Steps L of the history that are the long part; the rest is short.", minimum=1)
    k: int = option(50, "History items K that the search unit hands to the exact search unit.", minimum=1)
    dropout_rate: float = option(
        -1.0, "Dropout after the last hidden layer of each classifier; -1 disables it.", below=1.0
    )
    activation_unit_dims: tuple[int, ...] = option((80, 40), "Hidden widths of the activation unit.")
    history_attention: str = option(
        "dot", "How the target attends to the history in DIN and in SIM's exact search unit.", choices=ATTENTIONS
    )
    attention_heads: int = option(4, "Heads of multi_head attention.", minimum=1)
    position_bias: bool = option(True, "Add a learned bias for each step of the history to the attention's scores.")
    search: str = option("soft", "SIM's search: soft by score, hard by the target's category.", choices=SEARCHES)
    search_projection: bool = option(False, "Project target and history (W_a, W_b) before SIM's soft search.")
    time_intervals: bool = option(False, "Add time-interval embeddings in SIM's exact search; needs timestamps.")
    augru: str = option("paper", "Form of DIEN's AUGRU.", choices=AUGRU_FORMS)
    masked_rnn: bool = option(True, "Padded steps leave the RNNs' states as they are.")
    aux_loss_weight: float = option(1.0, "Weight of DIEN's auxiliary loss.", minimum=0.0)
    stage_one_loss_weight: float = option(0.5, "Weight of SIM's stage-one loss.", minimum=0.0)
    stage_two_loss_weight: float = option(0.5, "Weight of SIM's stage-two loss.", minimum=0.0)
    reference_compatible: bool = option(
        False, "Wire the model as NVIDIA's reference does; overrides the options of attention, search and RNNs."
    )

    def resolved(self) -> ModelSettings:
        """With what reference_compatible overrides."""
        if not self.reference_compatible:
            return self
        return dataclasses.replace(
            self, history_attention="dot", position_bias=False, search="soft", search_projection=False,
            time_intervals=False, augru="reference", masked_rnn=False,
        )  # fmt: skip


@dataclass(frozen=True)
class DataSettings:
    dataset_dir: str = option("", "Folder with the feature specification and the dataset's files.")
    feature_spec: str = option("feature_spec.yaml", "Name of the feature specification in dataset_dir.")
    prebatch_train_size: int = option(0, "Rows per record of the train files; 0: as the files have it.", minimum=0)
    prebatch_test_size: int = option(0, "Rows per record of the test files; 0: as the files have it.", minimum=0)
    drop_remainder: bool = option(False, "Leave out the last, partial batch of each training epoch.")
    shuffle: bool = option(True, "Shuffle the training rows: files first, then a buffer of rows.")
    shuffle_rows: int = option(65536, "Rows in the shuffle buffer.", minimum=1)
    disable_cache: bool = option(False, "Read the training files anew each epoch instead of caching compact rows.")
    cache_limit_mb: int = option(256, "Largest cache of training rows, MB; a larger dataset is not cached.", minimum=0)
    repeat_count: int = option(0, "Passes over the training set in one epoch; 0: one.", minimum=0)
    prefetch_train_size: int = option(10, "Batches to prefetch in training.", minimum=0)
    prefetch_test_size: int = option(2, "Batches to prefetch in evaluation.", minimum=0)
    num_parallel_calls: int | None = option(
        None, "Parallelism of reading and decoding; by default from the number of CPUs.", minimum=1
    )


@dataclass(frozen=True)
class TrainingSettings:
    optimizer: str = option("adam", "Optimizer; lazy_adam updates only the table rows of a batch.", choices=OPTIMIZERS)
    lr: float = option(0.01, "Learning rate.", minimum=0.0)
    weight_decay: float = option(0.0, "Decoupled weight decay per step, times the learning rate.", minimum=0.0)
    lr_schedule: str = option("constant", "Learning rate after the warmup; falls to 0 otherwise.", choices=SCHEDULES)
    warmup_steps: int = option(0, "Steps in which the learning rate rises linearly from 0.", minimum=0)
    gradient_clip_norm: float = option(0.0, "Largest global norm of a step's gradients; 0: not clipped.", minimum=0.0)
    epochs: int = option(3, "Passes over the training set in all, those before a resume included.", minimum=1)
    global_batch_size: int = option(131072, "Rows per step over all processes.", minimum=1)
    micro_batch_size: int = option(
        4096, "Rows per forward and backward pass; larger batches accumulate gradients to bound memory.", minimum=1
    )
    early_stopping_patience: int = option(
        0, "Epochs without a better validation metric before training stops; 0: never.", minimum=0
    )
    best_metric: str = option("auc", "Validation metric that chooses the best checkpoint.", choices=BEST_METRICS)
    amp: bool = option(False, "Mixed precision: float16 with dynamic loss scaling on GPU, bfloat16 on CPU.")
    xla: bool = option(False, "Compile forward and backward pass with XLA.")


@dataclass(frozen=True)
class ResultsSettings:
    results_dir: str = option("/tmp/sim", "Folder for the log and the test scores.")  # noqa: S108 (the seed's default)
    log_filename: str = option("log.json", "Name of the DLLogger file in results_dir.")
    save_checkpoint_path: str = option(
        "", "Folder for checkpoints: one an epoch, the newest two and the best kept; empty: none."
    )
    load_checkpoint_path: str = option("", "Folder of checkpoints to resume from, at the newest; empty: start anew.")


@dataclass(frozen=True)
class RunSettings:
    mode: str = option("train", "train, or inference: throughput of scoring with random weights.", choices=MODES)
    benchmark: bool = option(False, "Measure throughput, latency and FLOPs instead of training to the end.")
    benchmark_warmup_steps: int = option(20, "Steps before measuring starts.", minimum=0)
    benchmark_steps: int = option(200, "Steps to measure.", minimum=1)
    affinity: str = option("socket_unique_interleaved", "CPU cores of each process.", choices=AFFINITIES)
    native_kernels: bool = option(True, "Use the compiled CPU kernels (`make kernels`) where there are any.")
    inter_op_parallelism: int = option(0, "TensorFlow inter-op threads; 0: TensorFlow's choice.", minimum=0)
    intra_op_parallelism: int = option(0, "TensorFlow intra-op threads; 0: TensorFlow's choice.", minimum=0)
    seed: int = option(-1, "Random seed; -1: another one each run.", minimum=-1)


@dataclass(frozen=True)
class Settings:
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    results: ResultsSettings = field(default_factory=ResultsSettings)
    run: RunSettings = field(default_factory=RunSettings)

    @classmethod
    def from_flat(cls, values: Mapping[str, Any], source: str = "settings") -> Settings:
        """Builds settings from `{name: value}`; what is not named keeps its default.

        Raises SettingsError for unknown names (listing the valid ones), wrong types and values out of range.
        """
        known = {f.name: f for _, f in parameters()}
        unknown = sorted(str(name) for name in values if name not in known)
        if unknown:
            raise SettingsError(
                f"{source}: unknown parameter{'s' if len(unknown) > 1 else ''} {', '.join(unknown)}; "
                f"valid are: {', '.join(sorted(known))}"
            )
        values = {name: value for name, value in values.items() if value is not None}  # an empty line of YAML
        groups = {}
        for group in dataclasses.fields(cls):
            group_type = typing.get_type_hints(cls)[group.name]
            hints = typing.get_type_hints(group_type)
            groups[group.name] = group_type(
                **{
                    f.name: _converted(f, hints[f.name], values[f.name], source)
                    for f in dataclasses.fields(group_type)
                    if f.name in values
                }
            )
        return cls(**groups)

    @classmethod
    def load(cls, path: Path, overrides: Mapping[str, Any] | None = None) -> Settings:
        """A recipe or a checkpoint's settings file, with overrides on top."""
        return cls.from_flat({**read_recipe(path), **(overrides or {})}, str(path))

    def to_flat(self) -> dict[str, Any]:
        """`{name: value}` of plain data, tuples as comma-separated text, for YAML and logs."""
        flat = {}
        for group in dataclasses.fields(self):
            for name, value in dataclasses.asdict(getattr(self, group.name)).items():
                flat[name] = ",".join(map(str, value)) if isinstance(value, tuple) else value
        return flat


def parameters() -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """All parameters as (group name, field), in the order of the help."""
    for group in dataclasses.fields(Settings):
        for parameter in dataclasses.fields(typing.get_type_hints(Settings)[group.name]):
            yield group.name, parameter


def read_recipe(path: Path) -> dict[str, Any]:
    """The flat mapping of a YAML recipe. Raises SettingsError if it is not one."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"no such recipe: {path} ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not readable as YAML: {error}") from error
    if not isinstance(raw, dict):
        raise SettingsError(f"{path}: expected a mapping `parameter: value`, got {type(raw).__name__}")
    return raw


def _converted(parameter: dataclasses.Field[Any], hint: Any, value: Any, source: str) -> Any:
    try:
        result = _convert(hint, value)
    except (TypeError, ValueError, OverflowError) as error:
        expected = "comma-separated whole numbers" if isinstance(hint, types.GenericAlias) else _type_name(hint)
        raise SettingsError(f"{source}: {parameter.name}: expected {expected}, got {value!r}") from error
    choices = parameter.metadata["choices"]
    if choices and result not in choices:
        raise SettingsError(f"{source}: {parameter.name}: expected one of {', '.join(choices)}, got {value!r}")
    minimum = parameter.metadata["minimum"]
    if minimum is not None and result < minimum:
        raise SettingsError(f"{source}: {parameter.name}: expected at least {minimum}, got {value!r}")
    below = parameter.metadata["below"]
    if below is not None and result >= below:
        raise SettingsError(f"{source}: {parameter.name}: expected less than {below}, got {value!r}")
    return result


def _type_name(hint: Any) -> str:
    return str(hint) if isinstance(hint, types.UnionType) else str(hint.__name__)


def _convert(hint: Any, value: Any) -> Any:
    if isinstance(hint, types.UnionType):  # `X | None`; None is never given
        hint = next(t for t in typing.get_args(hint) if t is not type(None))
    if hint is bool:
        if not isinstance(value, bool):
            raise TypeError("not a bool")
        return value
    if hint is int:
        if isinstance(value, bool) or int(value) != float(value):
            raise TypeError("not a whole number")
        return int(value)
    if hint is float:
        if not math.isfinite(float(value)):
            raise ValueError("not finite")
        return float(value)
    if hint is str:
        return str(value)
    widths = str(value).split(",") if isinstance(value, str | int) else value
    result = tuple(int(w) for w in widths)
    if not result or min(result) < 1:
        raise ValueError("widths start at 1")
    return result
