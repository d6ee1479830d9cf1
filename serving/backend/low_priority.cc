#include "low_priority.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <exception>
#include <thread>

namespace recserve {

namespace {

constexpr int kNice = 10;

// Of the calling thread. Raising the number needs no privilege; that it cannot be lowered again is why it is done in
// threads that end.
void LowerPriority() { setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kNice); }

}  // namespace

void RunAtLowPriority(const std::function<void()>& function) {
  std::exception_ptr failure;
  std::thread thread([&] {
    LowerPriority();
    try {
      function();
    } catch (...) {
      failure = std::current_exception();
    }
  });
  thread.join();
  if (failure != nullptr) std::rethrow_exception(failure);
}

}  // namespace recserve
