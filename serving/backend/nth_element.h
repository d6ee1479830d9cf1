// TensorFlow's operation NthElement on float rows, by counting instead of by sorting.
//
// SIM's search asks for the k-th highest of each candidate's scores. TensorFlow's kernel calls std::nth_element for each
// row, whose comparisons no processor can foresee: a fourteenth of a ranking's time. The value found is the same.
#pragma once

#include <cstdint>
#include <vector>

namespace recserve {

// The value that `n` others of the row are not below: n = 0 is the highest. 0 <= n < count. −0 is below +0, NaN beyond
// the infinity of its sign. keys is room that calls can share.
float NthHighest(const float* row, int64_t count, int64_t n, std::vector<int32_t>* keys);

// From now on sessions of this process compute NthElement of floats on the CPU so. Throws BackendError if TensorFlow
// refuses. Calls after the first do nothing.
void RegisterNthElement();

}  // namespace recserve
