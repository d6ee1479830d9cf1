// What config.pbtxt says about a model, as far as this backend acts on it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dtype.h"
#include "json.h"

namespace recserve {

struct ConfigTensor {
  std::string name;
  const Dtype* dtype = nullptr;
  std::vector<int64_t> dims;  // without the batch dimension
};

// The official TensorFlow backend's parameters, with its names and meanings.
struct SessionSettings {
  int64_t intra_op_threads = 0;          // TF_NUM_INTRA_THREADS, 0: TensorFlow decides
  int64_t inter_op_threads = 0;          // TF_NUM_INTER_THREADS, 0: TensorFlow decides
  bool per_session_threads = false;      // TF_USE_PER_SESSION_THREADS
  std::string signature = "serving_default";  // TF_SIGNATURE_DEF
  std::string graph_tag = "serve";       // TF_GRAPH_TAG
};

struct ModelConfig {
  int64_t max_batch_size = 0;
  std::vector<ConfigTensor> inputs;
  std::vector<ConfigTensor> outputs;
  SessionSettings session;
  std::string saved_model_folder = "model.savedmodel";  // default_model_filename

  // A tensor's shape with its batch dimension, -1, where the model batches.
  std::vector<int64_t> FullShape(const ConfigTensor& tensor) const;
};

// Throws BackendError(INVALID_ARG) for values that make no sense and BackendError(UNSUPPORTED) for features
// that this backend does not have. Settings that it may ignore are reported in the log.
ModelConfig ReadModelConfig(const Json& json);

}  // namespace recserve
