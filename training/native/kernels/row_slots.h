// Sums of vectors by the row of a table that they belong to, by several threads; each row that occurs comes out once.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tensorflow/core/framework/op_kernel.h"

namespace recserve {

// Runs `add(begin, end, buffer)` on parts of 0..count, each thread with a zeroed buffer of its own, and adds the buffers.
template <typename Add>
void AddInParallel(tensorflow::OpKernelContext* context, int64_t count, int64_t size, float* sums, Add add) {
  auto* workers = context->device()->tensorflow_cpu_worker_threads();
  const int64_t shards = std::max<int64_t>(1, std::min<int64_t>(workers->num_threads, count));
  std::fill(sums, sums + size, 0.0f);
  std::vector<std::vector<float>> others(shards - 1);
  const auto run = [&](int64_t begin, int64_t end) {
    for (int64_t shard = begin; shard < end; ++shard) {
      if (shard > 0) others[shard - 1].assign(size, 0.0f);
      add(count * shard / shards, count * (shard + 1) / shards, shard == 0 ? sums : others[shard - 1].data());
    }
  };
  workers->workers->ParallelFor(shards,
                                tsl::thread::ThreadPool::SchedulingParams(
                                    tsl::thread::ThreadPool::SchedulingStrategy::kFixedBlockSize, absl::nullopt, 1),
                                run);
  workers->workers->ParallelFor(size, 2 * shards, [&](int64_t begin, int64_t end) {
    for (const std::vector<float>& other : others) {
      for (int64_t i = begin; i < end; ++i) sums[i] += other[i];
    }
  });
}

// A slot for each different id, from 1 on; 0 for id 0, the padding, and for ids outside the table.
//
// A table with fewer rows than there are ids is its own list of slots. For a larger one the ids are numbered in the
// order of their first appearance, so that the sums take no more memory than the ids.
class RowSlots {
 public:
  RowSlots(const int32_t* ids, int64_t count, int64_t rows) : of_(ids) {
    bool inside = true;
    for (int64_t n = 0; n < count; ++n) inside &= static_cast<uint64_t>(ids[n]) < static_cast<uint64_t>(rows);
    if (inside && rows <= count) {
      TakeRows(ids, count, rows);
    } else {
      Number(ids, count, rows);
    }
  }

  int32_t of(int64_t n) const { return of_[n]; }
  int64_t slots() const { return slots_; }  // with slot 0
  int64_t count() const { return static_cast<int64_t>(ids_.size()); }
  const std::vector<int32_t>& ids() const { return ids_; }

  // Slots' sums [slots(), width] -> those of `ids()` [count(), width].
  void Compact(const float* sums, int64_t width, float* to) const {
    for (int64_t n = 0; n < count(); ++n) {
      const float* from = sums + (numbered_.empty() ? ids_[n] : n + 1) * width;
      std::copy(from, from + width, to + n * width);
    }
  }

 private:
  void TakeRows(const int32_t* ids, int64_t count, int64_t rows) {
    std::vector<uint8_t> occurs(rows, 0);
    for (int64_t n = 0; n < count; ++n) occurs[ids[n]] = 1;
    for (int64_t row = 1; row < rows; ++row) {
      if (occurs[row]) ids_.push_back(static_cast<int32_t>(row));
    }
    slots_ = rows;
  }

  void Number(const int32_t* ids, int64_t count, int64_t rows) {
    numbered_.assign(std::max<int64_t>(count, 1), 0);
    std::vector<int32_t> slot_of_row(rows, 0);
    for (int64_t n = 0; n < count; ++n) {
      if (ids[n] <= 0 || ids[n] >= rows) continue;
      int32_t& slot = slot_of_row[ids[n]];
      if (slot == 0) {
        ids_.push_back(ids[n]);
        slot = static_cast<int32_t>(ids_.size());
      }
      numbered_[n] = slot;
    }
    of_ = numbered_.data();
    slots_ = this->count() + 1;
  }

  const int32_t* of_;
  int64_t slots_ = 0;
  std::vector<int32_t> numbered_;
  std::vector<int32_t> ids_;
};

// The two outputs of a sum by row: ids [M] and sums [M, width]. `add(begin, end, slots, buffer)` adds items begin..end to
// the slots of a buffer [slots, width]; items: of `ids` in groups of `group`.
template <typename Add>
void SumByRow(tensorflow::OpKernelContext* context, const int32_t* ids, int64_t count, int64_t group, int64_t rows,
              int64_t width, Add add) {
  const RowSlots slots(ids, count, rows);
  tensorflow::Tensor *unique, *sums;
  OP_REQUIRES_OK(context, context->allocate_output(0, tensorflow::TensorShape({slots.count()}), &unique));
  OP_REQUIRES_OK(context, context->allocate_output(1, tensorflow::TensorShape({slots.count(), width}), &sums));
  std::copy(slots.ids().begin(), slots.ids().end(), unique->flat<int32_t>().data());
  std::vector<float> buffer(slots.slots() * width);
  AddInParallel(context, count / std::max<int64_t>(group, 1), slots.slots() * width, buffer.data(),
                [&](int64_t begin, int64_t end, float* to) { add(begin, end, slots, to); });
  slots.Compact(buffer.data(), width, sums->flat<float>().data());
}

}  // namespace recserve
