// What the recurrent and the attention kernels share: blocks of rows that fit a cache, and shards of them for threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "gemm.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace recserve {

constexpr int64_t kBlockRows = 64;

template <typename T>
struct ElementOf;
template <>
struct ElementOf<float> {
  using type = float;
};
template <>
struct ElementOf<tensorflow::bfloat16> {
  using type = Pair;
};

// Runs `work(first row, last row, shard)` on contiguous shards that no run of rows crosses.
template <typename Work>
void ForEachShard(tensorflow::OpKernelContext* context, const int32_t* run_of_row, int64_t rows, int64_t shards, Work work) {
  std::vector<int64_t> cuts(shards + 1, rows);
  cuts[0] = 0;
  for (int64_t shard = 1; shard < shards; ++shard) {
    int64_t cut = std::max(rows * shard / shards, cuts[shard - 1]);
    while (cut > 0 && cut < rows && run_of_row[cut] == run_of_row[cut - 1]) ++cut;
    cuts[shard] = cut;
  }
  auto* pool = context->device()->tensorflow_cpu_worker_threads()->workers;
  const auto run = [&](int64_t begin, int64_t end) {
    for (int64_t shard = begin; shard < end; ++shard) work(cuts[shard], cuts[shard + 1], shard);
  };
  pool->ParallelFor(shards, tsl::thread::ThreadPool::SchedulingParams(
                                tsl::thread::ThreadPool::SchedulingStrategy::kFixedBlockSize, absl::nullopt, 1),
                    run);
}

// True if every row's run is one of `runs`, in ascending order.
inline bool AreRuns(const int32_t* run_of_row, int64_t rows, int64_t runs) {
  bool fits = true;
  for (int64_t row = 0; row < rows; ++row) {
    fits &= static_cast<uint64_t>(run_of_row[row]) < static_cast<uint64_t>(runs);
    fits &= row == 0 || run_of_row[row] >= run_of_row[row - 1];
  }
  return fits;
}

inline int64_t ShardsOf(tensorflow::OpKernelContext* context, int64_t rows) {
  const int64_t threads = context->device()->tensorflow_cpu_worker_threads()->num_threads;
  return std::max<int64_t>(1, std::min(threads, rows / kBlockRows));
}

// The left side of a product from a block of states: elements (row, k).
template <typename E>
void PackLeft(const float* data, int64_t rows, int64_t k_count, int64_t stride, E* packed) {
  constexpr int64_t per = Elements<E>::kPerElement;
  const int64_t elements = ElementsOf<E>(k_count);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t k = 0; k < k_count; k += per) {
      const float* at = data + row * stride + k;
      packed[row * elements + k / per] = Elements<E>::Make(at[0], per == 2 && k + 1 < k_count ? at[1] : 0.0f);
    }
  }
}

// Elements along the rows instead: (column, row), for products that sum over rows.
template <typename E>
void PackAlongRows(const float* data, int64_t rows, int64_t columns, int64_t stride, E* packed) {
  constexpr int64_t per = Elements<E>::kPerElement;
  for (int64_t row = 0; row < rows; row += per) {
    for (int64_t column = 0; column < columns; ++column) {
      const float* at = data + row * stride + column;
      packed[row / per * stride + column] = Elements<E>::Make(at[0], per == 2 && row + 1 < rows ? at[stride] : 0.0f);
    }
  }
}

}  // namespace recserve
