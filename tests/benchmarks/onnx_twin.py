"""The SavedModel converted to ONNX, beside the others: a contender on demand, with packages in a folder of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.benchmarks.child import run_child
from tests.benchmarks.serving_repository import NATIVE, write_twin

ONNX = "sim_onnx"
TWIN = Path(__file__).with_name("onnx_backend_model.py")
PACKAGES = ("tf2onnx==1.16.1", "onnx==1.16.2", "onnxruntime==1.19.2", "flatbuffers==24.3.25", "protobuf==3.20.3")
OPSET = 17


def onnx_packages(folder: Path) -> Path:
    """PACKAGES, installed once into the folder and not into the environment, whose protobuf is another."""
    if not (folder / "tf2onnx").is_dir():
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps")
        run_child([*pip, "--target", str(folder), *PACKAGES], folder.parent / "logs" / "onnx_packages.log")
    return folder


def add_onnx_twin(repository: Path, packages: Path) -> None:
    """ONNX beside NATIVE: its SavedModel converted by tf2onnx. Raises BenchmarkError with the converter's words."""
    twin = write_twin(repository, ONNX, TWIN)
    saved_model = repository / NATIVE / "1" / "model.savedmodel"
    options = ("--signature_def", "serving_default", "--tag", "serve", "--opset", str(OPSET))
    convert = f"import sys; sys.path.insert(0, {str(packages)!r}); import tf2onnx.convert as convert; convert.main()"
    paths = ("--saved-model", str(saved_model), "--output", str(twin / "1" / "model.onnx"))
    run_child([sys.executable, "-c", convert, *paths, *options], repository.parent / "logs" / "onnx.log")
    with (twin / "config.pbtxt").open("a", encoding="utf-8") as config:
        config.write(f'parameters {{ key: "PACKAGES" value {{ string_value: "{packages}" }} }}\n')
