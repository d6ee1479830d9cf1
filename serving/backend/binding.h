// Binds the tensors of config.pbtxt to those of the SavedModel's signature, or says why they do not fit.
#pragma once

#include <string>
#include <vector>

#include "model_config.h"
#include "signature.h"

namespace recserve {

// A tensor that both sides agree on.
struct BoundTensor {
  std::string name;
  const Dtype* dtype = nullptr;
  std::string tensor_name;     // in the graph
  std::vector<int64_t> shape;  // of a request, with the batch dimension; -1 only where both sides leave it open
  bool optional = false;
  bool scalar = false;     // the graph sees [], a request has [1]: Triton has no scalars without a batch dimension
  bool ragged = false;     // an input whose requests are laid end to end: the graph sees [-1]
  std::string scatter_by;  // of an output: the input whose shapes cut it up; empty: cut by rows
};

struct Binding {
  std::vector<BoundTensor> inputs;
  std::vector<BoundTensor> outputs;
  std::vector<BoundTensor> batch_inputs;  // one per config.batch_inputs
};

// Throws BackendError(INVALID_ARG) that lists every mismatch: tensor, what the model has, what the config says.
Binding Bind(const ModelConfig& config, const Signature& signature);

}  // namespace recserve
