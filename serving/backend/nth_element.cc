#include "nth_element.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <mutex>
#include <string>

#include "status.h"
#include "tensor.h"
#include "tensorflow/c/kernels.h"

namespace recserve {
namespace {

constexpr int64_t kLanes = 16;
constexpr int32_t kLowest = std::numeric_limits<int32_t>::min();

// Integers in the order of the floats, and back: a negative float's other bits are turned over.
inline int32_t Turned(int32_t bits) { return bits ^ ((bits >> 31) & std::numeric_limits<int32_t>::max()); }

// The body of NthHighest for each set of instructions. padded: a multiple of kLanes, keys behind `count` being kLowest.
__attribute__((always_inline)) inline int32_t NthHighestKey(const int32_t* keys, int64_t padded, int64_t n) {
  // The highest bound that n + 1 keys reach, bit by bit from the top, in the order of unsigned integers.
  uint32_t bound = 0;
  for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
    const int32_t candidate = static_cast<int32_t>((bound | bit) ^ 0x80000000u);
    int32_t reaching[kLanes] = {};
    for (int64_t i = 0; i < padded; i += kLanes) {
      for (int64_t lane = 0; lane < kLanes; ++lane) reaching[lane] += keys[i + lane] >= candidate;
    }
    int64_t count = 0;
    for (int32_t of_lane : reaching) count += of_lane;
    if (count > n) bound |= bit;
    if (count != n + 1) continue;
    int32_t lowest = std::numeric_limits<int32_t>::max();  // exactly they reach it: the answer is the lowest of them
    for (int64_t i = 0; i < padded; ++i) lowest = std::min(lowest, keys[i] >= candidate ? keys[i] : lowest);
    return lowest;
  }
  return static_cast<int32_t>(bound ^ 0x80000000u);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) int32_t NthHighestKeyAvx2(const int32_t* keys, int64_t padded, int64_t n) {
  return NthHighestKey(keys, padded, n);
}

__attribute__((target("avx512f"))) int32_t NthHighestKeyAvx512(const int32_t* keys, int64_t padded, int64_t n) {
  return NthHighestKey(keys, padded, n);
}
#endif

int32_t NthHighestKeyAny(const int32_t* keys, int64_t padded, int64_t n) { return NthHighestKey(keys, padded, n); }

using Search = int32_t (*)(const int32_t*, int64_t, int64_t);

Search SearchOfThisProcessor() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return NthHighestKeyAvx512;
  if (__builtin_cpu_supports("avx2")) return NthHighestKeyAvx2;
#endif
  return NthHighestKeyAny;
}

void Fail(TF_OpKernelContext* context, TF_Status* status, const std::string& message) {
  TF_SetStatus(status, TF_INVALID_ARGUMENT, message.c_str());
  TF_OpKernelContext_Failure(context, status);
}

struct NthElement {
  bool reverse;  // from the highest
};

void* Create(TF_OpKernelConstruction* construction) {
  Owned<TF_Status> status(TF_NewStatus());
  unsigned char reverse = 0;
  TF_OpKernelConstruction_GetAttrBool(construction, "reverse", &reverse, status.get());
  if (TF_GetCode(status.get()) != TF_OK) TF_OpKernelConstruction_Failure(construction, status.get());
  return new NthElement{reverse != 0};
}

Tensor Input(TF_OpKernelContext* context, int index, TF_Status* status) {
  TF_Tensor* tensor = nullptr;
  TF_GetInput(context, index, &tensor, status);
  return Tensor(tensor);
}

// input [..., D], n [] int32 -> [...].
void Compute(void* kernel, TF_OpKernelContext* context) {
  Owned<TF_Status> status(TF_NewStatus());
  const Tensor input = Input(context, 0, status.get());
  if (TF_GetCode(status.get()) != TF_OK) return TF_OpKernelContext_Failure(context, status.get());
  const Tensor n_tensor = Input(context, 1, status.get());
  if (TF_GetCode(status.get()) != TF_OK) return TF_OpKernelContext_Failure(context, status.get());
  if (TF_NumDims(n_tensor.get()) != 0) return Fail(context, status.get(), "NthElement: n must be a scalar");
  const int32_t n = *static_cast<const int32_t*>(TF_TensorData(n_tensor.get()));
  std::vector<int64_t> shape = ShapeOf(input.get());
  const int64_t columns = shape.empty() ? 0 : shape.back();
  if (n < 0 || n >= columns) {
    const std::string got = "NthElement: n is " + std::to_string(n) + ", the last axis has " + std::to_string(columns);
    return Fail(context, status.get(), got + "; expected 0 <= n < " + std::to_string(columns));
  }
  shape.pop_back();
  const int64_t rows = TF_TensorElementCount(input.get()) / columns;
  const Tensor output(TF_AllocateOutput(
      context, 0, TF_FLOAT, shape.data(), static_cast<int>(shape.size()), rows * sizeof(float), status.get()));
  if (TF_GetCode(status.get()) != TF_OK) return TF_OpKernelContext_Failure(context, status.get());
  const int64_t from_highest = static_cast<NthElement*>(kernel)->reverse ? n : columns - 1 - n;
  const float* row = static_cast<const float*>(TF_TensorData(input.get()));
  float* out = static_cast<float*>(TF_TensorData(output.get()));
  std::vector<int32_t> keys;
  for (int64_t i = 0; i < rows; ++i) out[i] = NthHighest(row + i * columns, columns, from_highest, &keys);
}

void Delete(void* kernel) { delete static_cast<NthElement*>(kernel); }

void Register() {
  constexpr int kAboveTensorFlows = 1;  // TensorFlow's own kernels have priority 0
  Owned<TF_Status> status(TF_NewStatus());
  TF_KernelBuilder* builder = TF_NewKernelBuilder("NthElement", "CPU", Create, Compute, Delete);
  TF_KernelBuilder_TypeConstraint(builder, "T", TF_FLOAT, status.get());
  TF_KernelBuilder_Priority(builder, kAboveTensorFlows);
  CheckTensorFlow(status.get(), "NthElement of floats");
  TF_RegisterKernelBuilder("RecserveNthElement", builder, status.get());
  CheckTensorFlow(status.get(), "NthElement of floats");
}

}  // namespace

float NthHighest(const float* row, int64_t count, int64_t n, std::vector<int32_t>* keys) {
  static const Search search = SearchOfThisProcessor();
  const int64_t padded = (count + kLanes - 1) / kLanes * kLanes;
  keys->resize(padded);
  std::memcpy(keys->data(), row, count * sizeof(float));
  for (int64_t i = 0; i < count; ++i) (*keys)[i] = Turned((*keys)[i]);
  std::fill(keys->begin() + count, keys->end(), kLowest);
  const int32_t bits = Turned(search(keys->data(), padded, n));
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

void RegisterNthElement() {
  static std::once_flag once;
  std::call_once(once, Register);
}

}  // namespace recserve
