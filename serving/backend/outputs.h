// From the graph's output tensors to the requests' responses.
#pragma once

#include <cstdint>
#include <vector>

#include "model.h"
#include "tensor.h"
#include "triton_abi.h"

namespace recserve {

// The part of an output tensor that belongs to one request.
struct OutputPart {
  std::vector<int64_t> shape;
  uint64_t first = 0;  // element
  uint64_t count = 0;
};

// What the graph returned must be cut by rows, so its shapes are checked, not trusted.
// outputs: one per model.outputs(), null for those that no one wants. rows: of the batch as it was run.
// Throws BackendError(INTERNAL) that names the output and both shapes.
void CheckRows(const Model& model, const std::vector<Tensor>& outputs, int64_t rows);

// The rows [first_row, first_row + rows) of a tensor that CheckRows has passed; all of it if the model does not batch.
OutputPart PartByRows(
    const Model& model, const BoundTensor& bound, const TF_Tensor* tensor, int64_t first_row, int64_t rows);

// Writes the part straight into the buffer that the server provides for the response.
void WriteOutput(
    TRITONBACKEND_Response* response, const BoundTensor& bound, const TF_Tensor* tensor, const OutputPart& part);

}  // namespace recserve
