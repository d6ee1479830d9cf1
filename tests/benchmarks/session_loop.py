"""Compiles and runs session_loop.cc: how many rows a second TensorFlow computes with no server around it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from export.cpu_graph import FOLDER as CPU_GRAPH
from tests.benchmarks.child import BenchmarkError
from training.native.build import LIBRARY

SOURCE = Path(__file__).with_name("session_loop.cc")


def compile_session_loop(folder: Path) -> Path:
    """The program, compiled into the folder. Raises BenchmarkError with the compiler's words."""
    spec = importlib.util.find_spec("tensorflow")
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if spec is None or spec.origin is None or compiler is None:
        raise BenchmarkError("the in-process ceiling needs TensorFlow and a C++ compiler")
    tensorflow, program = Path(spec.origin).parent, folder / "session_loop"
    command = [
        compiler, "-std=c++17", "-O2", f"-I{tensorflow / 'include'}", str(SOURCE), "-o", str(program),
        f"-L{tensorflow}", "-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{tensorflow}",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BenchmarkError(f"{' '.join(command)}\n{result.stderr.strip()}")
    return program


def with_cpu_graph(saved_model: Path, folder: Path) -> tuple[Path, Path | None]:
    """The SavedModel as our backend serves it, and the library it needs: itself and None without a graph of kernels."""
    if not (saved_model / CPU_GRAPH).is_dir():
        return saved_model, None
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in (saved_model / "variables", saved_model / CPU_GRAPH / "saved_model.pb"):
        (folder / path.name).symlink_to(path)
    return folder, LIBRARY


class SessionLoop:
    """A SavedModel's signature run in a loop by one thread on one CPU. kernels: the library of its operations."""

    def __init__(
        self, program: Path, saved_model: Path, signature: str, output: str, kernels: Path | None = None
    ) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        from tensorflow.core.protobuf import saved_model_pb2

        model = saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
        meta = next(graph for graph in model.meta_graphs if "serve" in graph.meta_info_def.tags)
        definition = meta.signature_def[signature]
        self._command = [str(program), str(kernels or "none"), str(saved_model)]
        self._inputs = {name: (tensor.name, tensor.dtype) for name, tensor in definition.inputs.items()}
        self._output = definition.outputs[output].name

    def rows_per_s(self, columns: Mapping[str, np.ndarray], seconds: float, cpu: int, folder: Path) -> float:
        """columns: {input name: [B, …]} in the signature's dtypes, one batch."""
        arguments = []
        for name, (tensor, dtype) in self._inputs.items():
            file = folder / f"{name}.bin"
            file.write_bytes(np.ascontiguousarray(columns[name]).tobytes())
            arguments.append(f"{tensor}:{dtype}:{','.join(map(str, columns[name].shape))}:{file}")
        command = [*self._command, str(seconds), self._output, *arguments]
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
            preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),
        )  # fmt: skip
        if result.returncode != 0:
            raise BenchmarkError(f"session_loop: {result.stderr.strip()}")
        runs, took = result.stdout.split()
        return int(runs) * len(next(iter(columns.values()))) / float(took)
