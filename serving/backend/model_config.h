// What config.pbtxt says about a model, as far as this backend acts on it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "buckets.h"
#include "dtype.h"
#include "json.h"
#include "parameters.h"
#include "queue_policy.h"
#include "ragged.h"

namespace recserve {

struct ConfigTensor {
  std::string name;
  const Dtype* dtype = nullptr;
  std::vector<int64_t> dims;  // as the graph sees them: `reshape` applied, without the batch dimension
  bool optional = false;
  bool ragged = false;  // allow_ragged_batch
};

// A sample of model_warmup; the graph is prepared by them.
struct WarmupSample {
  int64_t batch_size = 0;
  int64_t count = 1;  // how often Triton runs it in each instance
  std::map<std::string, std::vector<int64_t>> dims;  // by input, without the batch dimension
};

struct ModelConfig {
  int64_t max_batch_size = 0;
  bool dynamic_batching = false;
  QueuePolicy queue_policy;
  std::vector<ConfigTensor> inputs;
  std::vector<ConfigTensor> outputs;
  std::vector<BatchInput> batch_inputs;
  std::vector<BatchOutput> batch_outputs;
  std::vector<WarmupSample> warmup;
  Parameters parameters;
  Buckets buckets;
  std::string saved_model_folder = "model.savedmodel";  // default_model_filename

  // A tensor's shape with its batch dimension, -1, where the model batches.
  std::vector<int64_t> FullShape(const ConfigTensor& tensor) const;
};

// Throws BackendError(UNSUPPORTED) for features that this backend does not have and whose absence would give wrong
// answers. Those that it may ignore are reported in the log.
void CheckSupported(const Json& json);

// Throws BackendError(INVALID_ARG) for values that make no sense.
ModelConfig ReadModelConfig(const Json& json);

// The folder of the SavedModel inside the version's folder.
std::string SavedModelFolder(const Json& config);

// The dims that the graph sees: those of `reshape` where there is one.
std::vector<int64_t> GraphDims(const Json& tensor);

}  // namespace recserve
