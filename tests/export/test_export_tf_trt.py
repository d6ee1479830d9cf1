"""TF-TRT as far as it goes without a GPU: what the converter is asked for, and hosts that cannot convert."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from export.errors import ExportError
from export.tf_trt import TrtOptions, require_tensorrt
from export.triton_config import ServingOptions, model_config
from recserve import cli
from training.feature_spec import Feature


def test_the_converter_knows_every_argument_that_it_is_given() -> None:
    from tensorflow.python.compiler.tensorrt.trt_convert import TrtGraphConverterV2, supported_profile_strategies

    arguments = TrtOptions("FP16", 8, workspace_mb=3).converter_arguments(Path("/models/sim"))
    inspect.signature(TrtGraphConverterV2.__init__).bind(None, **arguments)
    assert arguments["dynamic_shape_profile_strategy"] in supported_profile_strategies()
    assert arguments == {
        "input_saved_model_dir": "/models/sim",
        "input_saved_model_signature_key": "serving_default",
        "precision_mode": "FP16",
        "use_dynamic_shape": True,
        "dynamic_shape_profile_strategy": "Range",
        "max_workspace_size_bytes": 3 * 1024 * 1024,
        "allow_build_at_runtime": False,
    }


def test_a_host_without_tensorrt_says_so_and_nothing_is_written(checkpoint: Path, tmp_path: Path) -> None:
    try:
        require_tensorrt()
    except ExportError:
        pass
    else:
        pytest.skip("this host has TensorRT and a GPU")
    models = tmp_path / "models"
    arguments = ["export", "--checkpoint", str(checkpoint), "--model_repository", str(models), "--tf_trt", "FP16"]
    done = CliRunner().invoke(cli, arguments)
    assert isinstance(done.exception, ExportError)
    assert str(done.exception).startswith("tf_trt: ")
    assert str(done.exception).endswith("Nothing was written.")
    assert not models.exists()


def test_a_newer_tensorflow_is_refused_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf, "__version__", "2.18.0")
    with pytest.raises(ExportError, match=r"got TensorFlow 2\.18\.0; expected 2\.17 or older"):
        require_tensorrt()


@pytest.mark.parametrize("option", ["--xla", "--amp"])
def test_options_that_exclude_each_other(option: str) -> None:
    done = CliRunner().invoke(cli, ["export", "--checkpoint", "none", "--tf_trt", "FP32", option])
    assert done.exit_code == 2
    assert f"--tf_trt: got {option} too" in done.output


def test_engines_are_served_on_the_gpu() -> None:
    features = (Feature("user", np.dtype("int64"), 9),)
    config = model_config("sim", features, ServingOptions(instances=2, on_gpu=True))
    assert config["instance_group"] == [{"count": 2, "kind": "KIND_GPU"}]
