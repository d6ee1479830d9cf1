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
    if (RequestQueue* queue = model->queue()) worker_.emplace(&instance_, triton_instance, queue);
  }

  // Takes over all requests. Throws only before it has touched any of them; then they remain Triton's.
  void Accept(TRITONBACKEND_Request** requests, uint32_t count) {
    if (worker_.has_value()) {
      worker_->Accept(requests, count);
    } else {
      RunRequests(ReadRequests(instance_.model(), triton_instance_, requests, count), &instance_, triton_instance_);
    }
  }

 private:
  Instance instance_;
  TRITONBACKEND_ModelInstance* triton_instance_;
  std::optional<Worker> worker_;
};

}  // namespace recserve
