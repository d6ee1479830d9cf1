// Answers requests that Triton hands to an instance. Each gets exactly one final response and is released exactly once,
// whatever fails.
#pragma once

#include "instance.h"
#include "request.h"
#include "triton_abi.h"

namespace recserve {

// Takes over all requests and returns those that make sense; the others are answered.
Requests ReadRequests(
    const Model& model, TRITONBACKEND_ModelInstance* triton_instance, TRITONBACKEND_Request** requests,
    uint32_t count);

// Computes and answers them, in as few batches as their shapes allow.
void RunRequests(const Requests& requests, Instance* instance, TRITONBACKEND_ModelInstance* triton_instance);

// Gives back what was answered without being computed.
void FinishRefused(const Requests& requests, TRITONBACKEND_ModelInstance* triton_instance);

}  // namespace recserve
