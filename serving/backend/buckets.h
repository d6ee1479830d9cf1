// Batch sizes that the graph ever sees. XLA compiles for each new size, so batches are padded to a few of them.
#pragma once

#include <cstdint>
#include <vector>

namespace recserve {

class Buckets {
 public:
  Buckets() = default;
  // sizes: ascending, from BATCH_BUCKETS; empty: no padding. max_batch_size becomes the last one, larger ones go.
  // Throws BackendError(INVALID_ARG) if there are sizes for a model that does not batch.
  Buckets(std::vector<int64_t> sizes, int64_t max_batch_size);

  bool empty() const { return sizes_.empty(); }
  const std::vector<int64_t>& sizes() const { return sizes_; }
  // The smallest size that holds so many rows; the number itself without buckets.
  int64_t SizeFor(int64_t rows) const;

 private:
  std::vector<int64_t> sizes_;
};

}  // namespace recserve
