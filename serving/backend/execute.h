// Answers the requests that Triton hands to an instance in one call.
#pragma once

#include "instance.h"
#include "triton_abi.h"

namespace recserve {

// Takes over all requests: each gets exactly one final response and is released exactly once, whatever fails.
// Throws only before it has touched any of them; then they remain Triton's.
void Execute(
    Instance* instance, TRITONBACKEND_ModelInstance* triton_instance, TRITONBACKEND_Request** requests,
    uint32_t count);

}  // namespace recserve
