// A thread of an instance that answers what waits in its model's queue.
#pragma once

#include <thread>

#include "instance.h"
#include "request_queue.h"
#include "triton_abi.h"

namespace recserve {

class Worker {
 public:
  // queue: outlives the worker.
  Worker(Instance* instance, TRITONBACKEND_ModelInstance* triton_instance, RequestQueue* queue);
  // Ends the batch that is being computed.
  ~Worker();

  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Takes over all requests; returns without waiting for their answers.
  void Accept(TRITONBACKEND_Request** requests, uint32_t count);

 private:
  void Work();

  Instance* instance_;
  TRITONBACKEND_ModelInstance* triton_instance_;
  RequestQueue* queue_;
  bool stop_ = false;  // the queue's mutex guards it
  std::thread thread_;
};

}  // namespace recserve
