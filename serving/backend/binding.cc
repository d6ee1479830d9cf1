#include "binding.h"

#include <algorithm>

#include "status.h"

namespace recserve {

namespace {

std::string ModelText(const SignatureTensor& tensor) {
  const Dtype* dtype = DtypeFromTensorFlow(tensor.dtype);
  const std::string type =
      dtype != nullptr ? dtype->name : "TensorFlow type " + std::to_string(static_cast<int>(tensor.dtype));
  return type + " " + (tensor.unknown_rank ? "of unknown rank" : ShapeText(tensor.shape));
}

std::string ConfigText(const ModelConfig& config, const ConfigTensor& tensor) {
  std::string text = std::string(tensor.dtype->name) + " " + ShapeText(config.FullShape(tensor));
  if (config.max_batch_size > 0) {
    text += " (dims " + ShapeText(tensor.dims) + " after the batch dimension, because max_batch_size is " +
            std::to_string(config.max_batch_size) + ")";
  } else {
    text += " (no batch dimension added, because max_batch_size is 0)";
  }
  return text;
}

bool ShapesFit(const std::vector<int64_t>& model, const std::vector<int64_t>& config) {
  if (model.size() != config.size()) return false;
  for (size_t i = 0; i < model.size(); ++i) {
    if (model[i] != -1 && config[i] != -1 && model[i] != config[i]) return false;
  }
  return true;
}

std::vector<int64_t> Narrowest(std::vector<int64_t> shape, const SignatureTensor& model) {
  if (model.unknown_rank) return shape;
  for (size_t i = 0; i < shape.size(); ++i) shape[i] = std::max(shape[i], model.shape[i]);
  return shape;
}

class Binder {
 public:
  Binder(const ModelConfig& config, const Signature& signature) : config_(config), signature_(signature) {}

  Binding Run() {
    Binding binding;
    for (const ConfigTensor& tensor : config_.inputs) {
      BindOne("input", tensor, signature_.inputs, &binding.inputs);
    }
    for (const ConfigTensor& tensor : config_.outputs) {
      BindOne("output", tensor, signature_.outputs, &binding.outputs);
    }
    for (const BatchInput& input : config_.batch_inputs) BindBatchInput(input, &binding.batch_inputs);
    RequireBatchOutputs();
    RequireAllInputs();
    if (config_.outputs.empty()) mistakes_.push_back("no output is listed");
    if (!mistakes_.empty()) Throw();
    return binding;
  }

 private:
  using Tensors = std::map<std::string, SignatureTensor>;

  void BindOne(
      const std::string& kind, const ConfigTensor& tensor, const Tensors& known, std::vector<BoundTensor>* bound) {
    const std::string label = kind + " '" + tensor.name + "'";
    const auto found = known.find(tensor.name);
    if (found == known.end()) {
      mistakes_.push_back(label + ": the model has no such " + kind + " (it has: " + Names(known) + ")");
      return;
    }
    const SignatureTensor& model = found->second;
    const std::vector<int64_t> shape = config_.FullShape(tensor);
    BoundTensor result;
    result.name = tensor.name;
    result.dtype = tensor.dtype;
    result.tensor_name = model.tensor_name;
    result.shape = shape;
    result.optional = tensor.optional;
    result.scatter_by = kind == "output" ? ScatteredBy(tensor.name) : "";
    result.scalar = config_.max_batch_size == 0 && !model.unknown_rank && model.shape.empty() &&
                    shape == std::vector<int64_t>{1};
    result.ragged = tensor.ragged && (model.unknown_rank || model.shape == std::vector<int64_t>{-1});
    // The graph's shape is not that of a request.
    const bool whole = result.ragged || result.scalar || !result.scatter_by.empty();
    if (model.dtype != tensor.dtype->tensorflow || (!whole && !model.unknown_rank && !ShapesFit(model.shape, shape))) {
      mistakes_.push_back(
          label + ": the model has " + ModelText(model) + ", config.pbtxt says " + ConfigText(config_, tensor));
      return;
    }
    if (config_.max_batch_size > 0 && !model.unknown_rank && !whole && model.shape[0] != -1) {
      mistakes_.push_back(
          label + ": the model has " + ModelText(model) + ", whose first dimension is fixed, config.pbtxt says " +
          ConfigText(config_, tensor) + "; export the model with an open first dimension or set max_batch_size 0");
      return;
    }
    if (!whole) result.shape = Narrowest(shape, model);
    bound->push_back(result);
  }

  void BindBatchInput(const BatchInput& input, std::vector<BoundTensor>* bound) {
    const std::string label = "batch_input '" + input.name + "'";
    const auto found = signature_.inputs.find(input.name);
    if (found == signature_.inputs.end()) {
      mistakes_.push_back(
          label + ": the model has no such input (it has: " + Names(signature_.inputs) + ")");
    } else if (found->second.dtype != input.dtype->tensorflow) {
      mistakes_.push_back(
          label + ": the model has " + ModelText(found->second) + ", config.pbtxt says " + input.dtype->name);
    } else {
      BoundTensor result;
      result.name = input.name;
      result.dtype = input.dtype;
      result.tensor_name = found->second.tensor_name;
      bound->push_back(result);
    }
  }

  void RequireAllInputs() {
    for (const auto& [name, model] : signature_.inputs) {
      if (!Lists(config_.inputs, name) && !Lists(config_.batch_inputs, name)) {
        mistakes_.push_back(
            "input '" + name + "': the model needs " + ModelText(model) + ", config.pbtxt does not list it");
      }
    }
  }

  void RequireBatchOutputs() {
    for (const BatchOutput& output : config_.batch_outputs) {
      if (Lists(config_.outputs, output.name)) continue;
      mistakes_.push_back("batch_output '" + output.name + "': config.pbtxt lists no such output");
    }
  }

  std::string ScatteredBy(const std::string& output) const {
    for (const BatchOutput& batch_output : config_.batch_outputs) {
      if (batch_output.name == output) return batch_output.source;
    }
    return "";
  }

  template <typename Tensor>
  static bool Lists(const std::vector<Tensor>& tensors, const std::string& name) {
    return std::any_of(tensors.begin(), tensors.end(), [&](const Tensor& tensor) { return tensor.name == name; });
  }

  static std::string Names(const Tensors& tensors) {
    std::string names;
    for (const auto& entry : tensors) names += (names.empty() ? "" : ", ") + entry.first;
    return names;
  }

  [[noreturn]] void Throw() const {
    std::string text = "config.pbtxt does not fit signature '" + signature_.name + "' of the SavedModel: ";
    for (size_t i = 0; i < mistakes_.size(); ++i) text += (i > 0 ? "; " : "") + mistakes_[i];
    throw BackendError(TRITONSERVER_ERROR_INVALID_ARG, text);
  }

  const ModelConfig& config_;
  const Signature& signature_;
  std::vector<std::string> mistakes_;
};

}  // namespace

Binding Bind(const ModelConfig& config, const Signature& signature) { return Binder(config, signature).Run(); }

}  // namespace recserve
