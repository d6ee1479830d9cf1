#include "nth_element_check.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "nth_element.h"

void CheckNthHighest() {
  const float infinity = std::numeric_limits<float>::infinity(), tiny = std::numeric_limits<float>::denorm_min();
  const std::vector<float> special = {infinity, -infinity, 0.0f, -0.0f, tiny, -tiny, 3.4e38f, -3.4e38f, 1.0f};
  std::mt19937 random(1);
  std::vector<int32_t> keys;
  for (int64_t count : {1, 2, 15, 16, 17, 90, 200}) {
    for (int round = 0; round < 30; ++round) {
      std::vector<float> row(count);
      for (float& value : row) {
        const uint32_t drawn = random();
        const float any = static_cast<float>(static_cast<int32_t>(drawn)) / 1e6f;
        value = round % 3 == 0 ? any : round % 3 == 1 ? static_cast<float>(drawn % 4) : special[drawn % special.size()];
      }
      std::vector<float> sorted = row;
      std::sort(sorted.begin(), sorted.end(), std::greater<float>());
      for (int64_t n = 0; n < count; ++n) {
        if (recserve::NthHighest(row.data(), count, n, &keys) == sorted[n]) continue;
        throw std::runtime_error("element " + std::to_string(n) + " of " + std::to_string(count) + " is wrong");
      }
    }
  }
}
