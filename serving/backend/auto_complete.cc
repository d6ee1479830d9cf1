#include "auto_complete.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "dtype.h"
#include "model_config.h"
#include "status.h"

namespace recserve {

namespace {

using Tensors = std::map<std::string, SignatureTensor>;

[[noreturn]] void Impossible(const std::string& what) {
  throw BackendError(TRITONSERVER_ERROR_INVALID_ARG, "config.pbtxt cannot be completed: " + what);
}

const std::vector<Json>& Listed(const Json& config, const char* key) {
  static const std::vector<Json> none;
  const Json* list = config.Find(key);
  return list != nullptr ? list->items() : none;
}

std::string NameOf(const Json& tensor) {
  const Json* name = tensor.Find("name");
  return name != nullptr ? name->AsString() : "";
}

bool HasDims(const Json& tensor) {
  const Json* dims = tensor.Find("dims");
  return dims != nullptr && !dims->items().empty();
}

bool HasType(const Json& tensor) {
  const Json* type = tensor.Find("data_type");
  return type != nullptr && !type->AsString().empty() && type->AsString() != "TYPE_INVALID";
}

bool AllOpen(const Tensors& tensors) {
  return std::all_of(tensors.begin(), tensors.end(), [](const auto& entry) {
    const SignatureTensor& tensor = entry.second;
    return !tensor.unknown_rank && !tensor.shape.empty() && tensor.shape[0] == -1;
  });
}

class Completion {
 public:
  Completion(const Signature& signature, Json* config) : signature_(signature), config_(config) {}

  void Run(int64_t default_max_batch_size) {
    const Json* size = config_->Find("max_batch_size");
    batches_ = size != nullptr && size->AsInt() > 0;
    if (!batches_ && AllOpen(signature_.inputs) && AllOpen(signature_.outputs)) {
      Hint("input", signature_.inputs);
      Hint("output", signature_.outputs);
      if (hint_.value_or(true)) SetBatchSize(default_max_batch_size);
    }
    Complete("input", signature_.inputs, true);
    Complete("output", signature_.outputs, Listed(*config_, "output").empty());
  }

 private:
  // The number of dims in the file tells whether they count the batch dimension.
  void Hint(const char* key, const Tensors& known) {
    for (const Json& tensor : Listed(*config_, key)) {
      const auto found = known.find(NameOf(tensor));
      if (found == known.end() || !HasDims(tensor)) continue;
      const bool leaves_it_out = GraphDims(tensor).size() + 1 == found->second.shape.size();
      if (hint_.has_value() && *hint_ != leaves_it_out) {
        Impossible(
            std::string(key) + " '" + found->first + "' has dims " + ShapeText(GraphDims(tensor)) +
            ", which contradict other tensors about a batch dimension; the model has " +
            ShapeText(found->second.shape));
      }
      hint_ = leaves_it_out;
    }
  }

  void SetBatchSize(int64_t size) {
    batches_ = size > 0;
    config_->Set("max_batch_size", Json::Number(size));
    if (size > 1 && config_->Find("dynamic_batching") == nullptr && config_->Find("sequence_batching") == nullptr) {
      config_->Set("dynamic_batching", Json::Object());
    }
  }

  void Complete(const std::string& key, const Tensors& known, bool add_unlisted) {
    Json list = Json::Array();
    std::vector<std::string> names;
    for (Json tensor : Listed(*config_, key.c_str())) {
      names.push_back(NameOf(tensor));
      const auto found = known.find(names.back());
      if (found != known.end()) Fill(key, found->first, found->second, &tensor);
      list.Append(std::move(tensor));
    }
    for (const Json& batch_input : Listed(*config_, "batch_input")) {
      const Json* targets = batch_input.Find("target_name");
      for (const Json& target : targets != nullptr ? targets->items() : std::vector<Json>()) {
        names.push_back(target.AsString());
      }
    }
    for (const auto& [name, model] : known) {
      if (!add_unlisted || std::find(names.begin(), names.end(), name) != names.end()) continue;
      Json tensor = Json::Object();
      tensor.Set("name", Json::String(name));
      Fill(key, name, model, &tensor);
      list.Append(std::move(tensor));
    }
    config_->Set(key, std::move(list));
  }

  void Fill(const std::string& kind, const std::string& name, const SignatureTensor& model, Json* tensor) const {
    const std::string label = kind + " '" + name + "'";
    if (!HasType(*tensor)) {
      const Dtype* dtype = DtypeFromTensorFlow(model.dtype);
      if (dtype == nullptr) {
        Impossible(label + " has TensorFlow type " + std::to_string(model.dtype) + ", which Triton does not have");
      }
      tensor->Set("data_type", Json::String(dtype->config_name));
    }
    if (HasDims(*tensor)) return;
    if (model.unknown_rank) Impossible(label + " has an unknown rank in the SavedModel; write its dims into the file");
    Json dims = Json::Array();
    for (size_t i = batches_ ? 1 : 0; i < model.shape.size(); ++i) dims.Append(Json::Number(model.shape[i]));
    if (dims.items().empty()) {  // Triton wants at least one dimension, the graph none
      dims.Append(Json::Number(1));
    }
    if (batches_ && model.shape.size() == 1) {
      Json reshape = Json::Object();
      reshape.Set("shape", Json::Array());
      tensor->Set("reshape", std::move(reshape));
    }
    tensor->Set("dims", std::move(dims));
  }

  const Signature& signature_;
  Json* config_;
  bool batches_ = false;
  std::optional<bool> hint_;
};

}  // namespace

void CompleteConfig(const Signature& signature, int64_t default_max_batch_size, Json* config) {
  Completion(signature, config).Run(default_max_batch_size);
}

}  // namespace recserve
