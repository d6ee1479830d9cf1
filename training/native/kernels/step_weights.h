// What the scores of one row's real steps become: softmax weights, and the choice of the highest.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>

#include "vector.h"

namespace recserve {

constexpr float kLowestScore = std::numeric_limits<float>::lowest();  // for scores of −∞, which keep their share

constexpr float kNoShare = -87.0f;  // e^x is smaller than any float in full precision: a step so far below the highest has 0

// In place. `row` has room for whole registers. NaN is not hidden: a row with one becomes NaN.
inline void Softmax(int64_t count, float* row) {
  float highest = kLowestScore;
  for (int64_t i = 0; i < count; ++i) highest = row[i] > highest ? row[i] : highest;
  for (int64_t i = 0; i < count; ++i) row[i] = (row[i] < kLowestScore ? kLowestScore : row[i]) - highest;
  for (int64_t i = 0; i < count; i += kLanes) {
    const Floats score = Load(row + i);
    Store(score < kNoShare ? Splat(0.0f) : Exp<float>(score), row + i);
  }
  float sum = 0.0f;
  for (int64_t i = 0; i < count; ++i) sum += row[i];
  const float scale = 1.0f / sum;
  for (int64_t i = 0; i < count; ++i) row[i] *= scale;
}

// Keeps those of `at` [count] whose scores are the k highest, in their order; of equal scores the earlier. Returns how
// many there are. scratch: [count].
inline int64_t SelectHighest(int64_t count, int64_t k, const float* scores, float* scratch, int32_t* at) {
  if (count <= k) return count;
  for (int64_t i = 0; i < count; ++i) scratch[i] = scores[i] == scores[i] ? scores[i] : kLowestScore;  // NaN has no order
  std::nth_element(scratch, scratch + k - 1, scratch + count, std::greater<float>());
  const float threshold = scratch[k - 1];
  int64_t room = k - std::count_if(scratch, scratch + k, [threshold](float s) { return s > threshold; });
  int64_t chosen = 0;
  for (int64_t i = 0; i < count && chosen < k; ++i) {
    const bool is_tie = !(scores[i] > threshold) && !(scores[i] < threshold);
    if (scores[i] < threshold || (is_tie && room == 0)) continue;
    room -= is_tie;
    at[chosen++] = at[i];
  }
  return chosen;
}

}  // namespace recserve
