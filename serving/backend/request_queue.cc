#include "request_queue.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace recserve {

namespace {

constexpr uint64_t kNsPerUs = 1000;
constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

}  // namespace

RequestQueue::RequestQueue(const QueuePolicy& policy, int64_t most_rows, std::string label)
    : policy_(policy), most_rows_(most_rows), label_(std::move(label)) {}

Requests RequestQueue::Put(Requests requests) {
  const uint64_t now_ns = NowNs();
  Requests expired, without_room;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    expired = TakeExpired(now_ns);
    for (auto& request : requests) {
      const int64_t rows = request->rows();
      const bool is_next = IsTakenAtOnce(rows);
      if (is_next || policy_.max_size == 0 || waiting_.size() < static_cast<size_t>(policy_.max_size)) {
        waiting_.push_back({std::move(request), is_next ? kNever : Deadline(now_ns)});
        waiting_rows_ += rows;
      } else {
        without_room.push_back(std::move(request));
      }
    }
  }
  changed_.notify_one();
  RefuseAsExpired(expired);
  for (const auto& request : without_room) {
    request->Fail(
        TRITONSERVER_ERROR_UNAVAILABLE,
        label_ + ": exceeds maximum queue size, " + std::to_string(policy_.max_size) + " requests wait");
  }
  for (auto& request : without_room) expired.push_back(std::move(request));
  return expired;
}

Requests RequestQueue::Take(const bool& stop, Requests* refused) {
  std::unique_lock<std::mutex> lock(mutex_);
  Requests batch;
  while (batch.empty() && refused->empty()) {
    ++idle_;
    changed_.wait(lock, [&] { return stop || !waiting_.empty(); });
    --idle_;
    if (stop) return {};
    *refused = TakeExpired(NowNs());
    batch = NextBatch();
  }
  const bool others_can_start = !waiting_.empty();
  lock.unlock();
  if (others_can_start) changed_.notify_one();
  RefuseAsExpired(*refused);
  return batch;
}

void RequestQueue::Stop(bool* flag) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    *flag = true;
  }
  changed_.notify_all();
}

bool RequestQueue::IsTakenAtOnce(int64_t rows) const {
  if (most_rows_ > 0) return waiting_rows_ + rows <= idle_ * most_rows_;
  return static_cast<int64_t>(waiting_.size()) < idle_;
}

uint64_t RequestQueue::Deadline(uint64_t now_ns) const {
  return policy_.timeout_us == 0 ? kNever : now_ns + static_cast<uint64_t>(policy_.timeout_us) * kNsPerUs;
}

Requests RequestQueue::TakeExpired(uint64_t now_ns) {
  Requests expired;
  const auto is_late = [&](const Waiting& waiting) { return now_ns > waiting.deadline_ns; };
  for (Waiting& waiting : waiting_) {
    if (!is_late(waiting)) continue;
    waiting_rows_ -= waiting.request->rows();
    expired.push_back(std::move(waiting.request));
  }
  if (!expired.empty()) waiting_.erase(std::remove_if(waiting_.begin(), waiting_.end(), is_late), waiting_.end());
  return expired;
}

Requests RequestQueue::NextBatch() {
  Requests batch;
  int64_t rows = 0;
  while (!waiting_.empty()) {
    const int64_t more = waiting_.front().request->rows();
    if (!batch.empty() && rows + more > most_rows_) break;
    rows += more;
    batch.push_back(std::move(waiting_.front().request));
    waiting_.pop_front();
  }
  waiting_rows_ -= rows;
  return batch;
}

void RequestQueue::RefuseAsExpired(const Requests& expired) const {
  for (const auto& request : expired) {
    request->Fail(
        TRITONSERVER_ERROR_UNAVAILABLE,
        label_ + ": request timeout expired, it waited longer than " +
            std::to_string(policy_.timeout_us) + " us");
  }
}

}  // namespace recserve
