"""The same for a model converted to ONNX: ONNX Runtime in Triton's Python backend, one thread."""

import json
import sys
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        sys.path.insert(0, config["parameters"]["PACKAGES"]["string_value"])
        import onnxruntime

        self.inputs = [entry["name"] for entry in config["input"]]
        self.outputs = [entry["name"] for entry in config["output"]]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        file = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        arrays = [
            {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
            for request in requests
        ]
        rows = [len(next(iter(part.values()))) for part in arrays]
        batch = {name: np.concatenate([part[name] for part in arrays]) for name in self.inputs}
        results = dict(zip(self.outputs, self.session.run(self.outputs, batch), strict=True))
        responses, start = [], 0
        for count in rows:
            tensors = [pb_utils.Tensor(name, results[name][start : start + count]) for name in self.outputs]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
            start += count
        return responses
