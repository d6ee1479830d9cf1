// What the recurrent and the attention kernels share: blocks of rows that fit a cache, and shards of them for threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "gemm.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace recserve {

constexpr int64_t kBlockRows = 64;

// A row's steps are far apart in memory, so a processor does not foresee which of them a block's next row reads.
constexpr int64_t kRowsAhead = 2;

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

// Runs `work(first row, last row, shard)` on the shards between the cuts.
template <typename Work>
void ForEachCut(tensorflow::OpKernelContext* context, const std::vector<int64_t>& cuts, Work work) {
  auto* pool = context->device()->tensorflow_cpu_worker_threads()->workers;
  const auto run = [&](int64_t begin, int64_t end) {
    for (int64_t shard = begin; shard < end; ++shard) work(cuts[shard], cuts[shard + 1], shard);
  };
  pool->ParallelFor(static_cast<int64_t>(cuts.size()) - 1,
                    tsl::thread::ThreadPool::SchedulingParams(
                        tsl::thread::ThreadPool::SchedulingStrategy::kFixedBlockSize, absl::nullopt, 1),
                    run);
}

// Runs `work(first row, last row, shard)` on contiguous shards.
template <typename Work>
void ForEachShard(tensorflow::OpKernelContext* context, int64_t rows, int64_t shards, Work work) {
  std::vector<int64_t> cuts(shards + 1);
  for (int64_t shard = 0; shard <= shards; ++shard) cuts[shard] = rows * shard / shards;
  ForEachCut(context, cuts, work);
}

// The same on shards that no run of rows crosses.
template <typename Work>
void ForEachShard(tensorflow::OpKernelContext* context, const int32_t* run_of_row, int64_t rows, int64_t shards, Work work) {
  std::vector<int64_t> cuts(shards + 1, rows);
  cuts[0] = 0;
  for (int64_t shard = 1; shard < shards; ++shard) {
    int64_t cut = std::max(rows * shard / shards, cuts[shard - 1]);
    while (cut > 0 && cut < rows && run_of_row[cut] == run_of_row[cut - 1]) ++cut;
    cuts[shard] = cut;
  }
  ForEachCut(context, cuts, work);
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

// More shards than threads, as a thread that the system makes wait would make the others wait for its share: a sixth of a
// DIEN step was lost so. Not more than pays on a host of many threads, where each shard has sums of its own to add up.
inline int64_t ShardsOf(tensorflow::OpKernelContext* context, int64_t rows) {
  constexpr int64_t kShardsOfThread = 8, kShardsInAll = 32;
  const int64_t threads = context->device()->tensorflow_cpu_worker_threads()->num_threads;
  const int64_t shards = threads == 1 ? 1 : std::max(threads, std::min(kShardsOfThread * threads, kShardsInAll));
  return std::max<int64_t>(1, std::min(shards, rows / kBlockRows));
}

// to [rows, columns]: the shards' sums added in their order. Columns of a shard are padded; an empty one has no rows.
template <typename Sums>
void AddShards(const std::vector<Sums>& shards, std::vector<float> Sums::*member, int64_t rows, int64_t columns, float* to) {
  std::fill_n(to, rows * columns, 0.0f);
  const int64_t stride = PaddedColumns(columns);
  for (const Sums& shard : shards) {
    const std::vector<float>& from = shard.*member;
    for (int64_t row = 0; row < rows && !from.empty(); ++row) {
      for (int64_t i = 0; i < columns; ++i) to[row * columns + i] += from[row * stride + i];
    }
  }
}

// The left side of a product: `count` values of a row -> elements (k).
inline void PackRow(const float* from, int64_t count, float* to) { std::memcpy(to, from, count * sizeof(float)); }

inline void PackRow(const float* from, int64_t count, Pair* to) {
  int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) Store(Load(from + k), reinterpret_cast<tensorflow::bfloat16*>(to + k / 2));
  for (; k < count; k += 2) to[k / 2] = MakePair(from[k], k + 1 < count ? from[k + 1] : 0.0f);
}

// bfloat16 rows are elements as they are.
inline void PackRow(const tensorflow::bfloat16* from, int64_t count, Pair* to) {
  if (count % 2 != 0) to[count / 2] = Pair{};
  std::memcpy(to, from, count * sizeof(tensorflow::bfloat16));
}

template <typename T, typename E>
void PackLeft(const T* data, int64_t rows, int64_t k_count, int64_t stride, E* packed) {
  for (int64_t row = 0; row < rows; ++row) PackRow(data + row * stride, k_count, packed + row * ElementsOf<E>(k_count));
}

// Elements along the rows instead: (row, column), for products that sum over rows. `row_at(row)` points at a row; packed
// rows are whole registers long, zeros behind.
template <typename RowAt>
void PackAcross(RowAt row_at, int64_t rows, int64_t columns, float* packed) {
  const int64_t stride = PaddedColumns(columns);
  for (int64_t row = 0; row < rows; ++row, packed += stride) {
    const auto* from = row_at(row);
    int64_t i = 0;
    for (; i + kLanes <= columns; i += kLanes) Store(Load(from + i), packed + i);
    for (; i < stride; ++i) packed[i] = i < columns ? static_cast<float>(from[i]) : 0.0f;
  }
}

template <typename RowAt>
void PackAcross(RowAt row_at, int64_t rows, int64_t columns, Pair* packed) {
  const int64_t stride = PaddedColumns(columns);
  for (int64_t row = 0; row < rows; row += 2, packed += stride) {
    const auto* even = row_at(row);
    const auto* odd = row + 1 < rows ? row_at(row + 1) : nullptr;
    int64_t i = 0;
    for (; i + kLanes <= columns; i += kLanes) {
      const Ints low = LoadBits(even + i), high = odd == nullptr ? Ints{} : LoadBits(odd + i);
      const Ints both = low | (high << 16);
      std::memcpy(packed + i, &both, sizeof(both));
    }
    for (; i < stride; ++i) {
      packed[i] = i < columns ? MakePair(static_cast<float>(even[i]), odd == nullptr ? 0.0f : static_cast<float>(odd[i])) : Pair{};
    }
  }
}

template <typename E>
void PackAlongRows(const float* data, int64_t rows, int64_t columns, E* packed) {
  PackAcross([&](int64_t row) { return data + row * columns; }, rows, columns, packed);
}

}  // namespace recserve
