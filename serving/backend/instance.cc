#include "instance.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "low_priority.h"
#include "outputs.h"
#include "status.h"

namespace recserve {

namespace {

// XLA's auto-clustering compiles a cluster when it comes by the second time, and never again after ten compilations
// that were each used too little.
constexpr int kRunsUntilClustered = 3;
constexpr size_t kMostClusterSizes = 10;

}  // namespace

Instance::Instance(Model* model) : model_(model), session_(model->SessionForInstance()) {
  for (size_t i = 0; i < model_->inputs().size(); ++i) {
    input_nodes_.push_back(FindNode(model_->inputs()[i]));
    CheckOptional(i);
  }
  for (const BoundTensor& tensor : model_->batch_inputs()) input_nodes_.push_back(FindNode(tensor));
  for (const BoundTensor& tensor : model_->outputs()) output_nodes_.push_back(FindNode(tensor));
  if (!model_->config().warmup.empty()) {
    session_->Once("prepare " + model_->signature(), [this] { AtLowPriority([this] { Prepare(); }); });
  }
  if (model_->config().parameters.warm_buckets) {
    const std::string sizes = ShapeText(model_->config().buckets.sizes());
    session_->Once("warm " + model_->signature() + " " + sizes, [this] { AtLowPriority([this] { Warm(); }); });
  }
}

void Instance::AtLowPriority(const std::function<void()>& work) const {
  model_->config().parameters.session.ComputesInCaller() ? RunAtLowPriority(work) : work();
}

TF_Output Instance::FindNode(const BoundTensor& tensor) const {
  const TF_Output node = session_->Find(tensor.tensor_name);
  if (node.oper != nullptr) return node;
  throw BackendError(
      TRITONSERVER_ERROR_INVALID_ARG, "the SavedModel is damaged: its graph has no tensor '" + tensor.tensor_name +
                                          "', which its signature names for '" + tensor.name + "'");
}

void Instance::CheckOptional(size_t input) const {
  const BoundTensor& tensor = model_->inputs()[input];
  if (!tensor.optional || model_->default_of(input).has_value()) return;
  if (std::strcmp(TF_OperationOpType(input_nodes_[input].oper), "PlaceholderWithDefault") == 0) return;
  throw BackendError(
      TRITONSERVER_ERROR_INVALID_ARG,
      model_->label() + ": config.pbtxt says that input '" + tensor.name +
          "' is optional, but neither the signature nor the graph has a default for it; export the signature with a "
          "default value or remove 'optional'");
}

// A new set of outputs takes TensorFlow a new executor, and XLA new programs. And what comes out of the same operation
// as a wanted output, as all outputs of a TensorFlow 2 signature do, is computed in any case.
std::vector<bool> Instance::Computed(const std::vector<bool>& wanted) {
  std::vector<bool> computed(wanted.size(), !model_->config().buckets.empty());
  for (size_t i = 0; i < wanted.size(); ++i) {
    for (size_t j = 0; wanted[i] && j < wanted.size(); ++j) {
      if (output_nodes_[i].oper == output_nodes_[j].oper) computed[j] = true;
    }
  }
  if (!session_->MayFetchOnly(model_->signature(), computed)) computed.assign(wanted.size(), true);
  return computed;
}

std::vector<Tensor> Instance::Run(const std::vector<Tensor>& inputs, const std::vector<bool>& wanted) {
  const std::vector<bool> computed = Computed(wanted);
  std::vector<TF_Output> feeds, fetches;
  std::vector<TF_Tensor*> values;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i] == nullptr) continue;
    feeds.push_back(input_nodes_[i]);
    values.push_back(inputs[i].get());
  }
  for (size_t i = 0; i < computed.size(); ++i) {
    if (computed[i]) fetches.push_back(output_nodes_[i]);
  }
  std::vector<Tensor> results = session_->Run(feeds, values, fetches);
  std::vector<Tensor> outputs(wanted.size());
  for (size_t i = 0, next = 0; i < wanted.size(); ++i) {
    if (!computed[i]) continue;
    if (wanted[i]) outputs[i] = std::move(results[next]);
    ++next;
  }
  return outputs;
}

// TensorFlow optimises the graph in the first run, which takes as long as loading, and makes programs for the products of
// each shape. Without this it would happen in Triton's warmup, in all instances at once and with the priority of
// requests. Whether a sample fits is for that to say.
void Instance::Prepare() {
  if (!model_->batch_inputs().empty()) return;
  for (const WarmupSample& sample : model_->config().warmup) {
    try {
      const std::vector<Tensor> inputs = ZerosOfSample(sample);
      if (!inputs.empty()) Run(inputs, std::vector<bool>(model_->outputs().size(), true));
    } catch (const BackendError&) {
      return;
    }
  }
}

// Empty if the sample does not fit the inputs.
std::vector<Tensor> Instance::ZerosOfSample(const WarmupSample& sample) const {
  std::vector<std::vector<int64_t>> shapes;
  for (const BoundTensor& input : model_->inputs()) {
    const auto dims = sample.dims.find(input.name);
    if (dims == sample.dims.end() || input.ragged || input.scalar) return {};
    std::vector<int64_t> shape = dims->second;
    if (model_->batches()) shape.insert(shape.begin(), std::max<int64_t>(sample.batch_size, 1));
    if (!Matches(shape, input.shape)) return {};
    shapes.push_back(shape);
  }
  return Zeros(shapes);
}

void Instance::Warm() {
  const std::vector<int64_t>& sizes = model_->config().buckets.sizes();
  const bool clusters = model_->config().parameters.session.graph_level > 0;
  const auto start = std::chrono::steady_clock::now();
  for (const int64_t size : sizes) {
    const std::vector<Tensor> inputs = ZerosOfBucket(size);
    try {
      for (int run = 0; run < (clusters ? kRunsUntilClustered : 1); ++run) {
        const auto outputs = Run(inputs, std::vector<bool>(model_->outputs().size(), true));
        CheckRows(*model_, outputs, size);
      }
    } catch (const BackendError& error) {
      throw BackendError(
          error.code(), model_->label() + ": warming the batch size " + std::to_string(size) +
                            " with zeros failed; set WARM_BUCKETS to false and use model_warmup with data that the "
                            "model accepts. " + error.what());
    }
  }
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  Log(TRITONSERVER_LOG_INFO, model_->label() + ": warmed batch sizes " + ShapeText(sizes) + " in " +
                                 std::to_string(static_cast<int64_t>(took.count())) + " ms");
  if (clusters && sizes.size() > kMostClusterSizes) {
    Log(TRITONSERVER_LOG_WARN, model_->label() + ": XLA's auto-clustering gives up on a cluster after " +
                                   std::to_string(kMostClusterSizes) + " batch sizes; list fewer in BATCH_BUCKETS");
  }
}

std::vector<Tensor> Instance::ZerosOfBucket(int64_t rows) const {
  std::vector<std::vector<int64_t>> shapes;
  for (const BoundTensor& input : model_->inputs()) {
    std::vector<int64_t> shape = input.shape;
    shape[0] = rows;
    if (std::find(shape.begin(), shape.end(), -1) != shape.end()) {
      throw BackendError(
          TRITONSERVER_ERROR_INVALID_ARG,
          model_->label() + ": WARM_BUCKETS needs fixed dims, input '" + input.name + "' has " +
              ShapeText(input.shape) + "; set WARM_BUCKETS to false and use model_warmup");
    }
    shapes.push_back(shape);
  }
  return Zeros(shapes);
}

std::vector<Tensor> Instance::Zeros(const std::vector<std::vector<int64_t>>& shapes) const {
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < shapes.size(); ++i) {
    const Dtype& dtype = *model_->inputs()[i].dtype;
    inputs.push_back(NewTensor(dtype, shapes[i]));
    TF_Tensor* tensor = inputs.back().get();
    if (dtype.tensorflow != TF_STRING) std::memset(TF_TensorData(tensor), 0, TF_TensorByteSize(tensor));
  }
  return inputs;
}

}  // namespace recserve
