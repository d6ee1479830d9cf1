"""What bench_serving measures: one SavedModel behind our backend and behind Triton's Python backend."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from serving.tool_folder import ToolFolder, default_tool_folder
from tests.benchmarks.child import RECSERVE, BenchmarkError, run_child

NATIVE, PLAIN, PYTHON, BFLOAT16 = "sim", "sim_plain", "sim_python", "sim_bfloat16"
RANK, RANK_PLAIN, RANK_BFLOAT16 = f"{NATIVE}_rank", f"{PLAIN}_rank", f"{BFLOAT16}_rank"
GENERATED = ("--users", "600", "--items", "4000", "--categories", "300", "--mean_interactions", "60", "--seed", "1")
LARGE_TABLE = 1_200_000  # items of Amazon Books, about
TWIN = Path(__file__).with_name("python_backend_model.py")


def trained_checkpoint(work: Path, model: str, table: int | None = None) -> Path:
    """A checkpoint of one short epoch on generated data, made once. table: cardinality of the items instead."""
    data, name = work / "data", f"{model}{table or ''}"
    checkpoint = work / "checkpoints" / name
    if checkpoint.is_dir():
        return checkpoint
    if not data.is_dir():
        _run(work, "generate", "--output_path", work / "raw", *GENERATED)
        _run(work, "preprocess", "--amazon_dataset_path", work / "raw", "--output_path", work / "parquet")
        _run(work, "convert", "--amazon_dataset_path", work / "parquet", "--tfrecord_output_dir", data)
    source = data if table is None else _with_table(data, work / f"data-{table}", table)
    _run(
        work, "train", "--dataset_dir", source, "--results_dir", work / "results" / name, "--model_type", model,
        "--epochs", 1, "--global_batch_size", 4096, "--optimizer", "sgd", "--save_checkpoint_path", checkpoint,
    )  # fmt: skip
    return checkpoint


def exported(checkpoint: Path, repository: Path, *options: object) -> Path:
    """Exports NATIVE into an empty repository; returns the folder of version 1 of the pointwise model."""
    shutil.rmtree(repository, ignore_errors=True)
    return add_exported(checkpoint, repository, NATIVE, *options)


def add_exported(checkpoint: Path, repository: Path, name: str, *options: object) -> Path:
    """Exports under a name that the repository has not yet; returns the same."""
    paths = ("--checkpoint", checkpoint, "--model_repository", repository, "--model_name", name)
    _run(repository.parent, "export", *paths, "--parity_rows", 16, *options)
    return repository / name / "1"


def add_plain_twins(repository: Path) -> None:
    """PLAIN and RANK_PLAIN: the same SavedModels behind our backend, without its CPU kernels."""
    for source, name in ((NATIVE, PLAIN), (RANK, RANK_PLAIN)):
        twin = repository / name
        shutil.rmtree(twin, ignore_errors=True)
        (twin / "1").mkdir(parents=True)
        (twin / "1" / "model.savedmodel").symlink_to(repository / source / "1" / "model.savedmodel")
        config = (repository / source / "config.pbtxt").read_text(encoding="utf-8")
        config = re.sub(r"^name:.*$", f'name: "{name}"', config, flags=re.MULTILINE)
        config += 'parameters { key: "CPU_KERNELS" value { string_value: "false" } }\n'
        (twin / "config.pbtxt").write_text(config, encoding="utf-8")


def add_python_twin(repository: Path) -> None:
    """PYTHON beside NATIVE: the same SavedModel behind the Python backend."""
    twin = write_twin(repository, PYTHON, TWIN)
    (twin / "1" / "model.savedmodel").symlink_to(repository / NATIVE / "1" / "model.savedmodel")


def write_twin(repository: Path, name: str, program: Path) -> Path:
    """A model of the Python backend; config.pbtxt is NATIVE's but for the backend and its parameters. Its folder."""
    source, twin = repository / NATIVE, repository / name
    shutil.rmtree(twin, ignore_errors=True)
    (twin / "1").mkdir(parents=True)
    shutil.copy(program, twin / "1" / "model.py")
    config = (source / "config.pbtxt").read_text(encoding="utf-8")
    config = re.sub(r"^name:.*$", f'name: "{name}"', config, flags=re.MULTILINE)
    config = re.sub(r"^(platform|default_model_filename):.*\n", "", config, flags=re.MULTILINE)
    config = re.sub(r"^backend:.*$", 'backend: "python"', config, flags=re.MULTILINE)
    config = re.sub(r"^parameters \{.*?^\}\n", "", config, flags=re.MULTILINE | re.DOTALL)
    (twin / "config.pbtxt").write_text(config, encoding="utf-8")
    return twin


def set_instances(repository: Path, model: str, count: int) -> None:
    file = repository / model / "config.pbtxt"
    config, found = re.subn(r"(instance_group \{[^}]*?count: )\d+", rf"\g<1>{count}", file.read_text(encoding="utf-8"))
    if found != 1:
        raise BenchmarkError(f"{file}: expected one instance_group with a count")
    file.write_text(config, encoding="utf-8")


def tools_with_python_backend(folder: Path) -> ToolFolder:
    """The tool folder with Triton's Python backend beside ours. Its library must be a copy: Triton checks the path."""
    tools, shipped = default_tool_folder(), ToolFolder(folder)
    server = tools.triton / "pytriton" / "tritonserver"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "triton").symlink_to(tools.root / "triton")
    shutil.copytree(tools.root / "bin", folder / "bin")
    shutil.copytree(tools.backends / "tensorflow", shipped.backends / "tensorflow")
    shutil.copytree(server / "backends" / "python", shipped.backends / "python")
    stub = server / "python_backend_stubs" / _python_version() / "triton_python_backend_stub"
    shutil.copy(stub, shipped.backends / "python")
    return shipped


def let_stubs_find_python(tools: ToolFolder) -> None:
    """In this process's environment, which servers inherit: python3 for the packages, and the wheel's libraries."""
    libraries = [str(tools.triton / "nvidia_pytriton.libs"), os.environ.get("LD_LIBRARY_PATH", "")]
    os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, libraries))
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def _python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _with_table(data: Path, folder: Path, cardinality: int) -> Path:
    """The same files under a specification with more items."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(data, folder)
    file = folder / "feature_spec.yaml"
    spec = yaml.safe_load(file.read_text(encoding="utf-8"))
    for name, feature in spec["feature_spec"].items():
        if name.startswith("item_id"):
            feature["cardinality"] = cardinality
    file.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return folder


def _run(work: Path, command: str, *options: object) -> None:
    arguments: Sequence[str] = [*RECSERVE, command, *map(str, options)]
    run_child(arguments, work / "logs" / f"{command}.log")
