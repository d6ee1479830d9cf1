#include "model_config.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "status.h"

namespace recserve {

namespace {

[[noreturn]] void Unsupported(const std::string& what) {
  throw BackendError(TRITONSERVER_ERROR_UNSUPPORTED, "config.pbtxt: the tensorflow backend does not support " + what);
}

bool HasContent(const Json* value) {
  return value != nullptr && (!value->items().empty() || !value->members().empty() || value->AsBool());
}

// Features whose silent absence would give wrong answers.
void RejectUnsupported(const Json& config) {
  for (const char* key : {"sequence_batching", "batch_input", "batch_output"}) {
    const Json* value = config.Find(key);
    if (value != nullptr && (value->kind() == Json::Kind::kObject || HasContent(value))) Unsupported(key);
  }
  const Json* policy = config.Find("model_transaction_policy");
  if (policy != nullptr && HasContent(policy->Find("decoupled"))) Unsupported("decoupled models");
}

ConfigTensor ReadTensor(const Json& json, const std::string& kind) {
  ConfigTensor tensor;
  const Json* name = json.Find("name");
  const Json* type = json.Find("data_type");
  tensor.name = name != nullptr ? name->AsString() : "";
  const std::string label = kind + " '" + tensor.name + "'";
  const std::string type_name = type != nullptr ? type->AsString() : "";
  tensor.dtype = DtypeFromConfigName(type_name);
  if (tensor.dtype == nullptr) {
    throw BackendError(
        TRITONSERVER_ERROR_INVALID_ARG, "config.pbtxt: " + label + " has unknown data_type '" + type_name + "'");
  }
  if (tensor.dtype->bytes == 0) Unsupported("strings yet: " + label + " is " + type_name);
  if (json.Find("reshape") != nullptr) Unsupported("reshape yet: " + label);
  for (const char* flag : {"optional", "allow_ragged_batch", "is_shape_tensor"}) {
    if (HasContent(json.Find(flag))) Unsupported(flag + std::string(" tensors yet: ") + label);
  }
  if (const Json* dims = json.Find("dims")) {
    for (const Json& dim : dims->items()) tensor.dims.push_back(dim.AsInt());
  }
  return tensor;
}

std::vector<ConfigTensor> ReadTensors(const Json& config, const char* key) {
  std::vector<ConfigTensor> tensors;
  if (const Json* list = config.Find(key)) {
    for (const Json& item : list->items()) tensors.push_back(ReadTensor(item, key));
  }
  return tensors;
}

int64_t ThreadCount(const std::string& name, const std::string& text) {
  constexpr int64_t kMost = 4096;
  char* end = nullptr;
  const int64_t value = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || value < 0 || value > kMost) {
    throw BackendError(
        TRITONSERVER_ERROR_INVALID_ARG, "config.pbtxt: parameter " + name + " is '" + text +
                                            "', expected a number of threads from 0 (TensorFlow decides) to " +
                                            std::to_string(kMost));
  }
  return value;
}

bool IsTrue(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text == "true" || text == "on" || text == "1";
}

void ReadParameter(const std::string& name, const std::string& text, SessionSettings* session) {
  if (name == "TF_NUM_INTRA_THREADS") {
    session->intra_op_threads = ThreadCount(name, text);
  } else if (name == "TF_NUM_INTER_THREADS") {
    session->inter_op_threads = ThreadCount(name, text);
  } else if (name == "TF_USE_PER_SESSION_THREADS") {
    session->per_session_threads = IsTrue(text);
  } else if (name == "TF_SIGNATURE_DEF") {
    session->signature = text;
  } else if (name == "TF_GRAPH_TAG") {
    session->graph_tag = text;
  } else if (name == "MAX_SESSION_SHARE_COUNT") {
    Log(TRITONSERVER_LOG_INFO, "MAX_SESSION_SHARE_COUNT has no effect: all instances share one session");
  } else if (name.rfind("TF_", 0) == 0) {
    Log(TRITONSERVER_LOG_WARN, "config.pbtxt: parameter " + name + " is not known here and is ignored");
  }
}

void WarnAboutIgnored(const Json& config) {
  const Json* optimization = config.Find("optimization");
  if (optimization == nullptr) return;
  for (const char* key : {"graph", "execution_accelerators"}) {
    const Json* value = optimization->Find(key);
    if (value != nullptr && !value->members().empty()) {
      Log(TRITONSERVER_LOG_WARN, std::string("config.pbtxt: optimization.") + key + " is ignored");
    }
  }
}

}  // namespace

std::vector<int64_t> ModelConfig::FullShape(const ConfigTensor& tensor) const {
  std::vector<int64_t> shape;
  if (max_batch_size > 0) shape.push_back(-1);
  shape.insert(shape.end(), tensor.dims.begin(), tensor.dims.end());
  return shape;
}

ModelConfig ReadModelConfig(const Json& json) {
  RejectUnsupported(json);
  ModelConfig config;
  if (const Json* size = json.Find("max_batch_size")) config.max_batch_size = size->AsInt();
  config.inputs = ReadTensors(json, "input");
  config.outputs = ReadTensors(json, "output");
  if (const Json* parameters = json.Find("parameters")) {
    for (const auto& [name, value] : parameters->members()) {
      const Json* text = value.Find("string_value");
      ReadParameter(name, text != nullptr ? text->AsString() : "", &config.session);
    }
  }
  if (const Json* filename = json.Find("default_model_filename")) {
    if (!filename->AsString().empty()) config.saved_model_folder = filename->AsString();
  }
  WarnAboutIgnored(json);
  return config;
}

}  // namespace recserve
