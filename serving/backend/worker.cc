#include "worker.h"

#include <utility>

#include "execute.h"

namespace recserve {

Worker::Worker(Instance* instance, TRITONBACKEND_ModelInstance* triton_instance, RequestQueue* queue)
    : instance_(instance), triton_instance_(triton_instance), queue_(queue), thread_([this] { Work(); }) {}

Worker::~Worker() {
  queue_->Stop(&stop_);
  thread_.join();
}

void Worker::Accept(TRITONBACKEND_Request** requests, uint32_t count) {
  const Requests refused = queue_->Put(ReadRequests(instance_->model(), triton_instance_, requests, count));
  FinishRefused(refused, triton_instance_);
}

void Worker::Work() {
  while (true) {
    Requests refused;
    const Requests batch = queue_->Take(stop_, &refused);
    FinishRefused(refused, triton_instance_);
    if (batch.empty() && refused.empty()) return;
    RunRequests(batch, instance_, triton_instance_);
  }
}

}  // namespace recserve
