// What Triton calls a model instance: it computes in Triton's own thread, or, where the queue is bounded, in one that
// takes requests from the model's queue.
#pragma once

#include <optional>

#include "execute.h"
#include "instance.h"
#include "worker.h"

namespace recserve {

class ServedInstance {
 public:
  // Throws as Instance does.
  ServedInstance(Model* model, TRITONBACKEND_ModelInstance* triton_instance)
      : instance_(model), triton_instance_(triton_instance) {
    for (const WarmupSample& sample : model->config().warmup) warmup_calls_left_ += sample.count;
  }

  // Takes over all requests. Throws only before it has touched any of them; then they remain Triton's.
  // Triton calls it from one thread, first for its warmup, which no bound may refuse.
  void Accept(TRITONBACKEND_Request** requests, uint32_t count) {
    RequestQueue* queue = instance_.model().queue();
    if (queue == nullptr || warmup_calls_left_ > 0) {
      if (warmup_calls_left_ > 0) --warmup_calls_left_;
      RunRequests(ReadRequests(instance_.model(), triton_instance_, requests, count), &instance_, triton_instance_);
      return;
    }
    if (!worker_.has_value()) worker_.emplace(&instance_, triton_instance_, queue);
    worker_->Accept(requests, count);
  }

 private:
  Instance instance_;
  TRITONBACKEND_ModelInstance* triton_instance_;
  int64_t warmup_calls_left_ = 0;
  std::optional<Worker> worker_;
};

}  // namespace recserve
