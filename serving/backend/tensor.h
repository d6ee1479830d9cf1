// TensorFlow tensors with an owner: new ones, ones that borrow memory, and what they look like.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "dtype.h"
#include "tensorflow/c/c_api.h"

namespace recserve {

struct TensorFlowDeleter {
  void operator()(TF_Status* status) const { TF_DeleteStatus(status); }
  void operator()(TF_Buffer* buffer) const { TF_DeleteBuffer(buffer); }
  void operator()(TF_Graph* graph) const { TF_DeleteGraph(graph); }
  void operator()(TF_Tensor* tensor) const { TF_DeleteTensor(tensor); }
  void operator()(TF_SessionOptions* options) const { TF_DeleteSessionOptions(options); }
  void operator()(TF_Session* session) const;
};

template <typename T>
using Owned = std::unique_ptr<T, TensorFlowDeleter>;
using Tensor = Owned<TF_Tensor>;

// A tensor of that type and shape. BYTES elements are empty strings, other elements are not set.
// Throws BackendError(UNAVAILABLE) if there is no memory for it.
Tensor NewTensor(const Dtype& dtype, const std::vector<int64_t>& shape);

// Counts tensors that still read borrowed memory. TensorFlow may hold a tensor longer than its TF_Tensor lives.
using Borrowers = std::shared_ptr<std::atomic<int>>;

// True if a tensor may lie at this address without TensorFlow copying it.
bool IsAligned(const void* data);

// A tensor that reads `data` in place. Null if TensorFlow declines. Not for BYTES.
Tensor BorrowTensor(
    const Dtype& dtype, const std::vector<int64_t>& shape, const void* data, size_t bytes, const Borrowers& borrowers);

// Elements of a shape without open dimensions. Throws BackendError(INVALID_ARG) that leads with `label` if a
// dimension is negative or the product overflows.
uint64_t ElementCount(const std::string& label, const std::vector<int64_t>& shape);

std::vector<int64_t> ShapeOf(const TF_Tensor* tensor);

// True if they have the same rank and `shape` agrees wherever `pattern` is not -1.
bool Matches(const std::vector<int64_t>& shape, const std::vector<int64_t>& pattern);

}  // namespace recserve
