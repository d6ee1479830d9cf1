// BYTES tensors: Triton's elements, each a 4-byte little-endian length and its bytes, to and from TensorFlow's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tensor.h"

namespace recserve {

struct BufferView {
  const void* data = nullptr;
  uint64_t bytes = 0;
};

// Reads exactly `count` elements out of the buffers, which follow each other, into the tensor's elements from
// `first` on. Throws BackendError(INVALID_ARG) that leads with `label` if lengths and bytes do not add up.
void DecodeStrings(
    const std::string& label, const std::vector<BufferView>& buffers, uint64_t count, TF_Tensor* tensor,
    uint64_t first);

// Bytes that EncodeStrings writes. Throws BackendError(UNSUPPORTED) for an element of 4 GiB or more.
uint64_t EncodedSize(const TF_Tensor* tensor, uint64_t first, uint64_t count);
void EncodeStrings(const TF_Tensor* tensor, uint64_t first, uint64_t count, char* target);

// Copies elements [first, first + count) over those that start at `target`.
void CopyStrings(TF_Tensor* tensor, uint64_t first, uint64_t count, uint64_t target);

}  // namespace recserve
