// The items that one row's attention sees, gathered from the tables once for all its passes over them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "gemm.h"
#include "tables.h"
#include "vector.h"

namespace recserve {

// The item vectors of one row's real steps, side by side in a cache; columns are padded to whole registers.
class RowItems {
 public:
  explicit RowItems(const Tables& tables)
      : tables_(tables), stride_(PaddedColumns(tables.width)), items_(tables.steps * stride_, 0.0f), steps_(tables.steps) {}

  void Gather(int64_t row, const bool* real) {
    count_ = 0;
    for (int64_t step = 0; step < tables_.steps; ++step) {
      steps_[count_] = static_cast<int32_t>(step);
      count_ += real[step];
      if (count_ == tables_.steps) break;
    }
    for (const Part& part : tables_.parts) {
      const int32_t* ids = part.ids + row * tables_.steps;
      for (int64_t n = 0; n < count_; ++n) {
        float* to = items_.data() + n * stride_ + part.offset;
        const int32_t id = ids[steps_[n]];
        if (id == 0) {
          std::fill_n(to, part.width, 0.0f);
        } else {
          CopyRow(part.table + id * part.width, part.width, to);
        }
      }
    }
  }

  int64_t count() const { return count_; }
  int64_t stride() const { return stride_; }
  int32_t step(int64_t n) const { return steps_[n]; }

  // vector [stride] -> products [count]
  void Dot(const float* vector, float* products) const {
    for (int64_t n = 0; n < count_; ++n) {
      Floats sum{};
      for (int64_t i = 0; i < stride_; i += kLanes) sum += Load(items_.data() + n * stride_ + i) * Load(vector + i);
      products[n] = Sum(sum);
    }
  }

  // weights [count] -> sum [stride]
  void WeightedSum(const float* weights, float* sum) const {
    for (int64_t i = 0; i < stride_; i += kLanes) {
      Floats total{};
      for (int64_t n = 0; n < count_; ++n) total += weights[n] * Load(items_.data() + n * stride_ + i);
      Store(total, sum + i);
    }
  }

 private:
  static void CopyRow(const float* from, int64_t width, float* to) {
    int64_t i = 0;
    for (; i + kLanes <= width; i += kLanes) Store(Load(from + i), to + i);
    for (; i < width; ++i) to[i] = from[i];
  }

  const Tables& tables_;
  int64_t stride_, count_ = 0;
  std::vector<float> items_;
  std::vector<int32_t> steps_;
};

}  // namespace recserve
