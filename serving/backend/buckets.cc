#include "buckets.h"

#include <algorithm>
#include <utility>

#include "status.h"

namespace recserve {

Buckets::Buckets(std::vector<int64_t> sizes, int64_t max_batch_size) : sizes_(std::move(sizes)) {
  if (sizes_.empty()) return;
  if (max_batch_size < 1) {
    throw BackendError(
        TRITONSERVER_ERROR_INVALID_ARG,
        "config.pbtxt: parameter BATCH_BUCKETS needs a model that batches, max_batch_size is 0");
  }
  while (!sizes_.empty() && sizes_.back() > max_batch_size) sizes_.pop_back();
  if (sizes_.empty() || sizes_.back() < max_batch_size) sizes_.push_back(max_batch_size);
}

int64_t Buckets::SizeFor(int64_t rows) const {
  const auto found = std::lower_bound(sizes_.begin(), sizes_.end(), rows);
  return found == sizes_.end() ? rows : *found;
}

}  // namespace recserve
