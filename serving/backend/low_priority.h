// Work for which no request should wait.
#pragma once

#include <functional>

namespace recserve {

// Runs the function in a thread of its own, whose priority is lower than that of the threads that answer requests, and
// waits for it. Threads that the function starts have that low priority too, for good. Throws what the function throws.
void RunAtLowPriority(const std::function<void()>& function);

}  // namespace recserve
