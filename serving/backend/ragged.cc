#include "ragged.h"

#include <algorithm>
#include <utility>

#include "model_config.h"
#include "status.h"

namespace recserve {

namespace {

constexpr std::pair<const char*, BatchInputKind> kKinds[] = {
    {"BATCH_ELEMENT_COUNT", BatchInputKind::kElementCount},
    {"BATCH_ACCUMULATED_ELEMENT_COUNT", BatchInputKind::kAccumulatedCount},
    {"BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO", BatchInputKind::kAccumulatedCountWithZero},
    {"BATCH_MAX_ELEMENT_COUNT_AS_SHAPE", BatchInputKind::kMaxElementCountAsShape},
    {"BATCH_ITEM_SHAPE", BatchInputKind::kItemShape},
    {"BATCH_ITEM_SHAPE_FLATTEN", BatchInputKind::kItemShapeFlatten},
};

[[noreturn]] void Invalid(const std::string& what) {
  throw BackendError(TRITONSERVER_ERROR_INVALID_ARG, "config.pbtxt: " + what);
}

bool IsInput(const ModelConfig& config, const std::string& name) {
  return std::any_of(config.inputs.begin(), config.inputs.end(), [&](const ConfigTensor& input) {
    return input.name == name && !input.optional;
  });
}

struct Values {
  std::vector<int64_t> shape;
  std::vector<int64_t> data;
};

Values Counts(BatchInputKind kind, const std::string& label, const std::vector<std::vector<int64_t>>& sources) {
  Values values;
  int64_t total = 0, longest = 0;
  if (kind == BatchInputKind::kAccumulatedCountWithZero) values.data.push_back(0);
  for (const auto& shape : sources) {
    const int64_t count = static_cast<int64_t>(ElementCount(label, shape));
    total += count;
    longest = std::max(longest, count);
    values.data.push_back(kind == BatchInputKind::kElementCount ? count : total);
  }
  if (kind == BatchInputKind::kMaxElementCountAsShape) values.data.assign(static_cast<size_t>(longest), 0);
  values.shape = {static_cast<int64_t>(values.data.size())};
  return values;
}

Values ItemShapes(BatchInputKind kind, const std::vector<std::vector<int64_t>>& sources) {
  Values values;
  int64_t rows = 0;
  for (const auto& shape : sources) {
    for (int64_t row = 0; row < shape[0]; ++row) values.data.insert(values.data.end(), shape.begin() + 1, shape.end());
    rows += shape[0];
  }
  const int64_t rank = static_cast<int64_t>(sources[0].size()) - 1;
  values.shape = {rows, rank};
  if (kind == BatchInputKind::kItemShapeFlatten) values.shape = {rows * rank};
  return values;
}

template <typename T>
void Fill(const std::vector<int64_t>& data, TF_Tensor* tensor) {
  std::transform(data.begin(), data.end(), static_cast<T*>(TF_TensorData(tensor)), [](int64_t value) {
    return static_cast<T>(value);
  });
}

}  // namespace

BatchInputKind BatchInputKindFrom(const std::string& kind, const std::string& name) {
  for (const auto& [text, value] : kKinds) {
    if (kind == text) return value;
  }
  Invalid("batch_input '" + name + "' has unknown kind '" + kind + "'");
}

void CheckBatchTensors(const ModelConfig& config) {
  if (config.batch_inputs.empty() && config.batch_outputs.empty()) return;
  if (config.max_batch_size < 1) Invalid("batch_input and batch_output need max_batch_size 1 or more");
  if (!config.buckets.empty()) Invalid("BATCH_BUCKETS cannot pad a model with batch_input or batch_output");
  for (const BatchInput& input : config.batch_inputs) {
    const std::string label = "batch_input '" + input.name + "'";
    if (!IsInput(config, input.source)) Invalid(label + ": source_input '" + input.source + "' is no required input");
    if (input.dtype->tensorflow != TF_INT32 && input.dtype->tensorflow != TF_FLOAT) {
      Invalid(label + " is " + input.dtype->name + ", expected INT32 or FP32");
    }
  }
  for (const BatchOutput& output : config.batch_outputs) {
    if (IsInput(config, output.source)) continue;
    Invalid("batch_output '" + output.name + "': source_input '" + output.source + "' is no required input");
  }
}

Tensor MakeBatchInput(const BatchInput& input, const std::vector<std::vector<int64_t>>& sources) {
  const bool item_shapes =
      input.kind == BatchInputKind::kItemShape || input.kind == BatchInputKind::kItemShapeFlatten;
  const Values values =
      item_shapes ? ItemShapes(input.kind, sources) : Counts(input.kind, "input '" + input.source + "'", sources);
  Tensor tensor = NewTensor(*input.dtype, values.shape);
  if (input.dtype->tensorflow == TF_FLOAT) {
    Fill<float>(values.data, tensor.get());
  } else {
    Fill<int32_t>(values.data, tensor.get());
  }
  return tensor;
}

}  // namespace recserve
