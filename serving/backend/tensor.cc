#include "tensor.h"

#include <cstdlib>
#include <cstring>
#include <string>

#include "status.h"
#include "tensorflow/c/tf_tstring.h"

namespace recserve {

namespace {

// Strings own memory that only TF_StringDealloc frees, whenever the last holder of the tensor lets go.
void FreeStrings(void* data, size_t bytes, void*) {
  auto* strings = static_cast<TF_TString*>(data);
  for (size_t i = 0; i < bytes / sizeof(TF_TString); ++i) TF_StringDealloc(&strings[i]);
  std::free(data);
}

void ReturnBorrowed(void*, size_t, void* argument) {
  std::unique_ptr<Borrowers> borrowers(static_cast<Borrowers*>(argument));
  --**borrowers;
}

TF_Tensor* NewStrings(const std::vector<int64_t>& shape, uint64_t count) {
  const size_t alignment = TF_TensorDefaultAlignment();
  const size_t bytes = count * sizeof(TF_TString);
  void* data = std::aligned_alloc(alignment, (bytes / alignment + 1) * alignment);
  if (data == nullptr) return nullptr;
  auto* strings = static_cast<TF_TString*>(data);
  for (uint64_t i = 0; i < count; ++i) TF_StringInit(&strings[i]);
  return TF_NewTensor(TF_STRING, shape.data(), static_cast<int>(shape.size()), data, bytes, FreeStrings, nullptr);
}

}  // namespace

Tensor NewTensor(const Dtype& dtype, const std::vector<int64_t>& shape) {
  constexpr uint64_t kMostElements = uint64_t{1} << 48;  // keeps the sizes below from overflowing
  const uint64_t count = ElementCount("a tensor", shape);
  Tensor tensor;
  if (count < kMostElements && dtype.tensorflow == TF_STRING) {
    tensor.reset(NewStrings(shape, count));
  } else if (count < kMostElements) {
    tensor.reset(
        TF_AllocateTensor(dtype.tensorflow, shape.data(), static_cast<int>(shape.size()), count * dtype.bytes));
  }
  if (tensor == nullptr || (count > 0 && TF_TensorData(tensor.get()) == nullptr)) {
    throw BackendError(
        TRITONSERVER_ERROR_UNAVAILABLE,
        "no memory for a tensor of shape " + ShapeText(shape) + " of " + dtype.name);
  }
  return tensor;
}

bool IsAligned(const void* data) { return reinterpret_cast<uintptr_t>(data) % TF_TensorDefaultAlignment() == 0; }

Tensor BorrowTensor(
    const Dtype& dtype, const std::vector<int64_t>& shape, const void* data, size_t bytes,
    const Borrowers& borrowers) {
  ++*borrowers;
  auto argument = std::make_unique<Borrowers>(borrowers);
  // TensorFlow does not write to a tensor that is fed: someone else holds it too.
  return Tensor(TF_NewTensor(
      dtype.tensorflow, shape.data(), static_cast<int>(shape.size()), const_cast<void*>(data), bytes, ReturnBorrowed,
      argument.release()));
}

uint64_t ElementCount(const std::string& label, const std::vector<int64_t>& shape) {
  uint64_t count = 1;
  for (const int64_t dim : shape) {
    if (dim < 0 || __builtin_mul_overflow(count, static_cast<uint64_t>(dim), &count)) {
      throw BackendError(TRITONSERVER_ERROR_INVALID_ARG, label + " has impossible shape " + ShapeText(shape));
    }
  }
  return count;
}

std::vector<int64_t> ShapeOf(const TF_Tensor* tensor) {
  std::vector<int64_t> shape;
  for (int i = 0; i < TF_NumDims(tensor); ++i) shape.push_back(TF_Dim(tensor, i));
  return shape;
}

bool Matches(const std::vector<int64_t>& shape, const std::vector<int64_t>& pattern) {
  if (shape.size() != pattern.size()) return false;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (pattern[i] != -1 && pattern[i] != shape[i]) return false;
  }
  return true;
}

}  // namespace recserve
