#include "model_config.h"

#include <algorithm>

#include "status.h"

namespace recserve {

namespace {

[[noreturn]] void Unsupported(const std::string& what) {
  throw BackendError(TRITONSERVER_ERROR_UNSUPPORTED, "config.pbtxt: the tensorflow backend does not support " + what);
}

bool HasContent(const Json* value) {
  return value != nullptr && (!value->items().empty() || !value->members().empty() || value->AsBool());
}

std::string Text(const Json& object, const char* key) {
  const Json* value = object.Find(key);
  return value != nullptr ? value->AsString() : "";
}

std::vector<int64_t> Numbers(const Json* list) {
  std::vector<int64_t> numbers;
  if (list == nullptr) return numbers;
  for (const Json& item : list->items()) numbers.push_back(item.AsInt());
  return numbers;
}

const Dtype* ReadDtype(const Json& json, const std::string& label) {
  const std::string name = Text(json, "data_type");
  const Dtype* dtype = DtypeFromConfigName(name);
  if (dtype != nullptr) return dtype;
  throw BackendError(
      TRITONSERVER_ERROR_INVALID_ARG, "config.pbtxt: " + label + " has unknown data_type '" + name + "'");
}

ConfigTensor ReadTensor(const Json& json, const std::string& kind) {
  ConfigTensor tensor;
  tensor.name = Text(json, "name");
  const std::string label = kind + " '" + tensor.name + "'";
  tensor.dtype = ReadDtype(json, label);
  if (HasContent(json.Find("is_shape_tensor"))) Unsupported("shape tensors: " + label);
  tensor.optional = HasContent(json.Find("optional"));
  tensor.ragged = HasContent(json.Find("allow_ragged_batch"));
  tensor.dims = GraphDims(json);
  return tensor;
}

std::vector<ConfigTensor> ReadTensors(const Json& config, const char* key) {
  std::vector<ConfigTensor> tensors;
  if (const Json* list = config.Find(key)) {
    for (const Json& item : list->items()) tensors.push_back(ReadTensor(item, key));
  }
  return tensors;
}

std::vector<WarmupSample> ReadWarmup(const Json& config) {
  std::vector<WarmupSample> samples;
  const Json* listed = config.Find("model_warmup");
  if (listed == nullptr) return samples;
  for (const Json& item : listed->items()) {
    const Json *batch_size = item.Find("batch_size"), *count = item.Find("count"), *inputs = item.Find("inputs");
    WarmupSample& sample = samples.emplace_back();
    sample.batch_size = batch_size != nullptr ? batch_size->AsInt() : 0;
    sample.count = std::max<int64_t>(count != nullptr ? count->AsInt() : 0, 1);
    if (inputs == nullptr) continue;
    for (const auto& [name, input] : inputs->members()) sample.dims[name] = Numbers(input.Find("dims"));
  }
  return samples;
}

std::string OnlyName(const Json& json, const char* key, const std::string& label) {
  const Json* names = json.Find(key);
  if (names == nullptr || names->items().size() != 1) {
    throw BackendError(
        TRITONSERVER_ERROR_INVALID_ARG, "config.pbtxt: " + label + " needs exactly one " + key + ", it has " +
                                            std::to_string(names == nullptr ? 0 : names->items().size()));
  }
  return names->items()[0].AsString();
}

void ReadBatchTensors(const Json& json, ModelConfig* config) {
  if (const Json* list = json.Find("batch_input")) {
    for (const Json& item : list->items()) {
      BatchInput input;
      input.name = OnlyName(item, "target_name", "batch_input");
      input.source = OnlyName(item, "source_input", "batch_input '" + input.name + "'");
      input.kind = BatchInputKindFrom(Text(item, "kind"), input.name);
      input.dtype = ReadDtype(item, "batch_input '" + input.name + "'");
      config->batch_inputs.push_back(input);
    }
  }
  if (const Json* list = json.Find("batch_output")) {
    for (const Json& item : list->items()) {
      BatchOutput output;
      output.name = OnlyName(item, "target_name", "batch_output");
      output.source = OnlyName(item, "source_input", "batch_output '" + output.name + "'");
      if (Text(item, "kind") != "BATCH_SCATTER_WITH_INPUT_SHAPE") Unsupported("batch_output " + Text(item, "kind"));
      config->batch_outputs.push_back(output);
    }
  }
}

}  // namespace

void CheckSupported(const Json& config) {
  const std::string platform = Text(config, "platform");
  if (!platform.empty() && platform != "tensorflow_savedmodel") Unsupported("platform '" + platform + "'");
  if (config.Find("sequence_batching") != nullptr) Unsupported("sequence_batching");
  const Json* policy = config.Find("model_transaction_policy");
  if (policy != nullptr && HasContent(policy->Find("decoupled"))) Unsupported("decoupled models");
  const Json* optimization = config.Find("optimization");
  const Json* accelerators = optimization != nullptr ? optimization->Find("execution_accelerators") : nullptr;
  if (accelerators == nullptr) return;
  if (HasContent(accelerators->Find("cpu_execution_accelerator"))) Unsupported("cpu_execution_accelerator");
  if (HasContent(accelerators->Find("gpu_execution_accelerator"))) {
    Log(TRITONSERVER_LOG_WARN, "config.pbtxt: gpu_execution_accelerator is ignored: instances compute on the CPU");
  }
}

std::vector<int64_t> ModelConfig::FullShape(const ConfigTensor& tensor) const {
  std::vector<int64_t> shape;
  if (max_batch_size > 0) shape.push_back(-1);
  shape.insert(shape.end(), tensor.dims.begin(), tensor.dims.end());
  return shape;
}

ModelConfig ReadModelConfig(const Json& json) {
  ModelConfig config;
  if (const Json* size = json.Find("max_batch_size")) config.max_batch_size = size->AsInt();
  config.dynamic_batching = json.Find("dynamic_batching") != nullptr;
  config.inputs = ReadTensors(json, "input");
  config.outputs = ReadTensors(json, "output");
  ReadBatchTensors(json, &config);
  config.warmup = ReadWarmup(json);
  config.parameters = ReadParameters(json);
  config.queue_policy = ReadQueuePolicy(json, config.parameters.queue);
  config.buckets = Buckets(config.parameters.batch_buckets, config.max_batch_size);
  config.saved_model_folder = SavedModelFolder(json);
  CheckBatchTensors(config);
  return config;
}

std::string SavedModelFolder(const Json& config) {
  const std::string name = Text(config, "default_model_filename");
  if (name.find('/') != std::string::npos || name == "." || name == "..") {
    throw BackendError(
        TRITONSERVER_ERROR_INVALID_ARG, "config.pbtxt: default_model_filename is '" + name +
                                            "', expected the name of a folder inside the version's folder");
  }
  return name.empty() ? "model.savedmodel" : name;
}

std::vector<int64_t> GraphDims(const Json& tensor) {
  const Json* reshape = tensor.Find("reshape");
  return Numbers(reshape != nullptr ? reshape->Find("shape") : tensor.Find("dims"));
}

}  // namespace recserve
