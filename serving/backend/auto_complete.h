// Completes a partial config.pbtxt, or none at all, from the SavedModel's signature.
#pragma once

#include <cstdint>

#include "json.h"
#include "signature.h"

namespace recserve {

// What the file says stays as it is; what it leaves open is filled in:
// - max_batch_size, where it is 0 or absent: default_max_batch_size if every tensor of the signature has an open first
//   dimension and the dims in the file, if any, leave it out; else 0. More than 1 brings dynamic_batching with it.
// - inputs that are not listed; outputs only if none is listed; data_type and dims of those that are listed.
// Throws BackendError(INVALID_ARG) that names the tensor if its rank is unknown, or if the dims in the file contradict
// each other about the batch dimension.
void CompleteConfig(const Signature& signature, int64_t default_max_batch_size, Json* config);

}  // namespace recserve
