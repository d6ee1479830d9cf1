#include "give_way.h"

#include <thread>

#include "request.h"

namespace recserve {

namespace {

// A request passes through threads of the transport, the frontend and the dynamic batcher.
constexpr int kThreadsOfARequest = 3;
// So long takes a thread that computes. Giving way to it gains no requests: wait with the next attempt.
constexpr uint64_t kTooLongNs = 2'000'000, kPauseNs = 100'000'000;

}  // namespace

void GiveWay::operator()() {
  const uint64_t start_ns = NowNs();
  if (start_ns < not_before_ns_) return;
  for (int i = 0; i < kThreadsOfARequest; ++i) {
    std::this_thread::yield();
    const uint64_t now_ns = NowNs();
    if (now_ns - start_ns < kTooLongNs) continue;
    not_before_ns_ = now_ns + kPauseNs;
    return;
  }
}

}  // namespace recserve
