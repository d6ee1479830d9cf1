// What the backend asks the server for, and tells it, when a model is loaded.
#pragma once

#include <cstdint>
#include <string>

#include "json.h"
#include "model.h"
#include "triton_abi.h"

namespace recserve {

// All throw BackendError if the server refuses.
Json ReadConfig(TRITONBACKEND_Model* model);
void WriteConfig(TRITONBACKEND_Model* model, const Json& config);
std::string VersionFolder(TRITONBACKEND_Model* model);
std::string Label(TRITONBACKEND_Model* model);  // "model 'sim' version 3"

// From the server's command line, --backend-config=tensorflow,<key>=<value>:
//   default-max-batch-size  what CompleteConfig gives a model that batches; 4
//   drop-cancelled          true: a cancelled request is answered CANCELLED without being computed. Without it: true,
//                           but false up to Triton 2.52, whose gRPC frontend crashes if a cancelled request ends just
//                           as the cancellation arrives, which answering it sooner makes more likely.
// Other keys are the server's own. Throws BackendError(INVALID_ARG) for a malformed value.
BackendSettings ReadSettings(TRITONBACKEND_Model* model);

//   cpu-kernels             a folder, see LoadCpuKernels; "" if it is not given
std::string KernelsFolder(TRITONBACKEND_Backend* backend);

}  // namespace recserve
