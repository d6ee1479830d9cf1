// The requests of one version that wait for an instance, where config.pbtxt bounds how many may and for how long.
//
// Triton's batcher has such bounds too, but hardly works while its queue is full, and without a batcher Triton has none.
// So with bounds Triton's queue is kept empty: an instance takes over at once what Triton hands it, and the requests
// wait here.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "queue_policy.h"
#include "request.h"

namespace recserve {

class RequestQueue {
 public:
  // most_rows: of a batch; 0 if requests run one by one.
  // label: leads the messages of refused requests.
  RequestQueue(const QueuePolicy& policy, int64_t most_rows, std::string label);

  // Takes in requests that have been read. Returns those that it has refused with UNAVAILABLE: the given ones without
  // room, and those whose time is over. What an idle thread can take at once does not count as waiting.
  Requests Put(Requests requests);

  // The oldest requests, as many as a batch holds, at least one; waits for them. Empty once `stop` is true.
  // refused: those whose time is over, answered with UNAVAILABLE.
  Requests Take(const bool& stop, Requests* refused);

  // Sets the flag of a thread in Take and wakes it up.
  void Stop(bool* flag);

 private:
  struct Waiting {
    std::unique_ptr<PendingRequest> request;
    uint64_t deadline_ns;
  };

  bool IsTakenAtOnce(int64_t rows) const;
  uint64_t Deadline(uint64_t now_ns) const;
  Requests TakeExpired(uint64_t now_ns);
  Requests NextBatch();
  void RefuseAsExpired(const Requests& expired) const;

  const QueuePolicy policy_;
  const int64_t most_rows_;
  const std::string label_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Waiting> waiting_;  // oldest first
  int64_t waiting_rows_ = 0;
  int64_t idle_ = 0;  // threads in Take that have nothing to do, or have not woken up yet
};

}  // namespace recserve
