// Time for the server's threads after a batch, so that requests that they hold join the next one.
#pragma once

#include <cstdint>

namespace recserve {

// Of one instance, called from its thread. Where cores are scarce, an instance that takes its next batch at once runs
// it with the few requests that got through while it computed. Where no thread waits for this core, a call costs about
// a microsecond.
class GiveWay {
 public:
  void operator()();

 private:
  uint64_t not_before_ns_ = 0;
};

}  // namespace recserve
