// Ragged batching: inputs of different lengths laid end to end (`allow_ragged_batch`), with tensors beside them that
// tell the lengths (`batch_input`) and outputs that are cut by them (`batch_output`).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tensor.h"

namespace recserve {

struct ModelConfig;

enum class BatchInputKind {
  kElementCount,               // [requests]: elements of the source of each request
  kAccumulatedCount,           // [requests]: the same, summed up
  kAccumulatedCountWithZero,   // [requests + 1]: the same, with a 0 in front
  kMaxElementCountAsShape,     // [elements of the longest]: the shape tells, the values are 0
  kItemShape,                  // [rows, rank]: each row's shape without the batch dimension
  kItemShapeFlatten,           // [rows * rank]: the same, flat
};

struct BatchInput {
  std::string name;
  std::string source;
  BatchInputKind kind = BatchInputKind::kElementCount;
  const Dtype* dtype = nullptr;  // INT32 or FP32
};

// BATCH_SCATTER_WITH_INPUT_SHAPE: each request gets as many elements as its source has, in the source's shape.
struct BatchOutput {
  std::string name;
  std::string source;
};

// Throws BackendError(INVALID_ARG) if there is no such kind.
BatchInputKind BatchInputKindFrom(const std::string& kind, const std::string& name);

// Throws BackendError(INVALID_ARG) for sources that are no inputs, other types than INT32 and FP32, a model that does
// not batch, and buckets: padding has no meaning for tensors without rows.
void CheckBatchTensors(const ModelConfig& config);

// sources: the source's shape in each request, batch dimension first.
Tensor MakeBatchInput(const BatchInput& input, const std::vector<std::vector<int64_t>>& sources);

}  // namespace recserve
