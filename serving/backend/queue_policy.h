// How many requests may wait for an instance, and for how long (request_queue.h).
#pragma once

#include <cstdint>
#include <string>

#include "json.h"

namespace recserve {

struct QueuePolicy {
  int64_t max_size = 0;    // requests that may wait, 0: no limit
  int64_t timeout_us = 0;  // for which they may, then they are refused; 0: no limit

  bool IsBounded() const { return max_size > 0 || timeout_us > 0; }
  // "at most 8 requests wait, each at most 20000 us", for the log.
  std::string Text() const;
};

// The bounds that the parameters set, or those of dynamic_batching.default_queue_policy. Its other rules need what
// Triton does not tell a backend: priorities, timeouts of single requests, and DELAY. With them the policy stays
// Triton's, with a warning, and the result has no bounds.
// Throws BackendError(INVALID_ARG) if the parameters set bounds beside such rules.
QueuePolicy ReadQueuePolicy(const Json& config, const QueuePolicy& parameters);

}  // namespace recserve
