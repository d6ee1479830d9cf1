// Requests that run together: their inputs as the graph's input tensors, and who gets which part of its outputs.
#pragma once

#include <vector>

#include "instance.h"
#include "request.h"
#include "tensor.h"

namespace recserve {

using Group = std::vector<PendingRequest*>;

int64_t TotalRows(const Group& group);

// One tensor per model input, then one per batch input; null for inputs that the requests leave out.
// rows: of the batch as it runs, TotalRows(group) or more: the first row is repeated up to there, because the graph
// accepts its values if it accepts any.
// borrowers: not null lets a tensor read a request's buffer in place, where that needs no copy.
// Throws BackendError(INVALID_ARG) for malformed BYTES and BackendError(UNAVAILABLE) if memory runs out.
std::vector<Tensor> GatherInputs(const Model& model, const Group& group, int64_t rows, const Borrowers& borrowers);

// Per request, per output, its part. Throws BackendError(INTERNAL) if an output does not have as many rows, or
// elements, as the batch.
std::vector<std::vector<OutputPart>> CutOutputs(
    const Model& model, const Group& group, const std::vector<Tensor>& outputs, int64_t rows);

}  // namespace recserve
