"""What people write today to serve a SavedModel with Triton's Python backend: load it, batch, call, split."""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        config = json.loads(args["model_config"])
        self.inputs = [entry["name"] for entry in config["input"]]
        self.outputs = [entry["name"] for entry in config["output"]]
        folder = Path(args["model_repository"]) / args["model_version"] / "model.savedmodel"
        self.model = tf.saved_model.load(str(folder))
        self.infer = self.model.signatures["serving_default"]

    def execute(self, requests):
        arrays = [
            {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
            for request in requests
        ]
        rows = [len(next(iter(part.values()))) for part in arrays]
        batch = {name: tf.constant(np.concatenate([part[name] for part in arrays])) for name in self.inputs}
        results = {name: value.numpy() for name, value in self.infer(**batch).items() if name in self.outputs}
        responses, start = [], 0
        for count in rows:
            tensors = [pb_utils.Tensor(name, results[name][start : start + count]) for name in self.outputs]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
            start += count
        return responses
