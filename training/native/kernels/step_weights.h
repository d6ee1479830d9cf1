// What the scores of one row's real steps become: softmax weights, and the choice of the highest.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>

#include "vector.h"

namespace recserve {

constexpr float kLowestScore = std::numeric_limits<float>::lowest();  // for scores of −∞, which keep their share

constexpr float kNoShare = -87.0f;  // e^x is smaller than any float in full precision: a step so far below the highest has 0

// In place. `row` has room for whole registers. NaN is not hidden: a row with one becomes NaN.
inline void Softmax(int64_t count, float* row) {
  const int64_t padded = (count + kLanes - 1) / kLanes * kLanes;
  std::fill(row + count, row + padded, kLowestScore);
  Floats highest_of_lane = Splat(kLowestScore);
  for (int64_t i = 0; i < padded; i += kLanes) highest_of_lane = Load(row + i) > highest_of_lane ? Load(row + i) : highest_of_lane;
  float highest = kLowestScore;
  for (int lane = 0; lane < kLanes; ++lane) highest = std::max(highest, highest_of_lane[lane]);
  for (int64_t i = 0; i < padded; i += kLanes) {
    const Floats score = (Load(row + i) < kLowestScore ? Splat(kLowestScore) : Load(row + i)) - highest;
    Store(score < kNoShare ? Splat(0.0f) : Exp<float>(score), row + i);
  }
  std::fill(row + count, row + padded, 0.0f);
  Floats sum{};
  for (int64_t i = 0; i < padded; i += kLanes) sum += Load(row + i);
  const float scale = 1.0f / Sum(sum);
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

// The same as a row of ones and zeros: chosen, and keys for its own use, have room for whole registers, as has scores. The
// k-th highest score is found bit by bit, as a register's lanes are compared at once.
inline void ChooseHighest(int64_t count, int64_t k, const float* scores, int32_t* keys, float* chosen) {
  const int64_t padded = (count + kLanes - 1) / kLanes * kLanes;
  std::fill_n(chosen, padded, 0.0f);
  if (count <= k) {
    std::fill_n(chosen, count, 1.0f);
    return;
  }
  constexpr int32_t kLowestKey = std::numeric_limits<int32_t>::min(), kWithoutSign = std::numeric_limits<int32_t>::max();
  for (int64_t i = 0; i < padded; i += kLanes) {  // integers in the order of the scores
    const Floats score = Load(scores + i) + 0.0f;  // not −0
    const Floats ordered = score == score ? score : Splat(kLowestScore);  // NaN has no order
    Ints key;
    std::memcpy(&key, &ordered, sizeof(key));
    key ^= (key >> 31) & kWithoutSign;
    std::memcpy(keys + i, &key, sizeof(key));
  }
  std::fill(keys + count, keys + padded, kLowestKey);
  uint32_t bound = 0;  // the highest that k keys reach, in the order of unsigned integers
  int32_t threshold = kLowestKey;
  int64_t reaching = 0;
  for (uint32_t bit = 1u << 31; bit != 0 && reaching != k; bit >>= 1) {
    const int32_t candidate = static_cast<int32_t>(bound | bit) ^ kLowestKey;
    Ints hits{};
    for (int64_t i = 0; i < padded; i += kLanes) {
      Ints key;
      std::memcpy(&key, keys + i, sizeof(key));
      hits -= key >= candidate;
    }
    reaching = static_cast<int64_t>(Sum(__builtin_convertvector(hits, Floats)));
    if (reaching < k) continue;
    bound |= bit;
    threshold = candidate;
  }
  for (int64_t i = 0; i < count; ++i) chosen[i] = keys[i] >= threshold ? 1.0f : 0.0f;
  if (reaching == k) return;
  int64_t room = k - std::count_if(keys, keys + count, [threshold](int32_t key) { return key > threshold; });
  for (int64_t i = 0; i < count; ++i) {
    if (keys[i] == threshold && room-- <= 0) chosen[i] = 0.0f;
  }
}

}  // namespace recserve
