#include "batch.h"

#include <algorithm>
#include <cstring>

#include "status.h"

namespace recserve {

namespace {

size_t IndexOf(const Model& model, const std::string& input) {
  const auto& inputs = model.inputs();
  const auto found =
      std::find_if(inputs.begin(), inputs.end(), [&](const BoundTensor& tensor) { return tensor.name == input; });
  return static_cast<size_t>(found - inputs.begin());  // CheckBatchTensors has seen to it that it is there
}

uint64_t Elements(const PendingRequest& request, size_t input) {
  return ElementCount("an input", request.inputs()[input].shape);
}

std::vector<int64_t> BatchShape(const Model& model, const Group& group, size_t index, int64_t rows) {
  std::vector<int64_t> shape = group[0]->inputs()[index].shape;
  if (model.inputs()[index].scalar) return {};
  if (model.inputs()[index].ragged) {
    uint64_t elements = 0;
    for (const PendingRequest* request : group) elements += Elements(*request, index);
    return {static_cast<int64_t>(elements)};
  }
  if (model.batches()) shape[0] = rows;
  return shape;
}

// The tensor that reads the only request's only buffer in place; null if that is not possible.
Tensor Borrow(
    const BoundTensor& bound, const Group& group, size_t index, const std::vector<int64_t>& shape, int64_t rows,
    const Borrowers& borrowers) {
  const InputView& view = group[0]->inputs()[index];
  const bool possible = borrowers != nullptr && group.size() == 1 && view.buffers.size() == 1 &&
                        rows == group[0]->rows() && bound.dtype->tensorflow != TF_STRING &&
                        IsAligned(view.buffers[0].data);
  return possible ? BorrowTensor(*bound.dtype, shape, view.buffers[0].data, view.bytes, borrowers) : Tensor();
}

void CopyBuffers(const Group& group, size_t index, char* target) {
  for (const PendingRequest* request : group) {
    for (const BufferView& buffer : request->inputs()[index].buffers) {
      std::memcpy(target, buffer.data, buffer.bytes);
      target += buffer.bytes;
    }
  }
}

void DecodeBuffers(const BoundTensor& bound, const Group& group, size_t index, TF_Tensor* tensor) {
  uint64_t first = 0;
  for (const PendingRequest* request : group) {
    const uint64_t count = Elements(*request, index);
    DecodeStrings("input '" + bound.name + "'", request->inputs()[index].buffers, count, tensor, first);
    first += count;
  }
}

void RepeatFirstRow(const Dtype& dtype, int64_t filled, int64_t rows, TF_Tensor* tensor) {
  const uint64_t per_row = static_cast<uint64_t>(TF_TensorElementCount(tensor)) / static_cast<uint64_t>(rows);
  char* data = static_cast<char*>(TF_TensorData(tensor));
  const uint64_t row_bytes = per_row * dtype.bytes;
  for (uint64_t row = static_cast<uint64_t>(filled); row < static_cast<uint64_t>(rows); ++row) {
    if (dtype.tensorflow == TF_STRING) {
      CopyStrings(tensor, 0, per_row, row * per_row);
    } else if (row_bytes > 0) {
      std::memcpy(data + row * row_bytes, data, row_bytes);
    }
  }
}

Tensor GatherInput(
    const Model& model, const Group& group, size_t index, int64_t rows, const Borrowers& borrowers) {
  const BoundTensor& bound = model.inputs()[index];
  const std::vector<int64_t> shape = BatchShape(model, group, index, rows);
  if (Tensor borrowed = Borrow(bound, group, index, shape, rows, borrowers)) return borrowed;
  Tensor tensor = NewTensor(*bound.dtype, shape);
  if (bound.dtype->tensorflow == TF_STRING) {
    DecodeBuffers(bound, group, index, tensor.get());
  } else {
    CopyBuffers(group, index, static_cast<char*>(TF_TensorData(tensor.get())));
  }
  const int64_t filled = TotalRows(group);
  if (rows > filled) RepeatFirstRow(*bound.dtype, filled, rows, tensor.get());
  return tensor;
}

std::vector<std::vector<int64_t>> SourceShapes(const Group& group, size_t input) {
  std::vector<std::vector<int64_t>> shapes;
  for (const PendingRequest* request : group) shapes.push_back(request->inputs()[input].shape);
  return shapes;
}

// One part per request, cut by the shapes of an input.
std::vector<OutputPart> ScatterParts(
    const Model& model, const Group& group, const BoundTensor& output, const TF_Tensor* tensor) {
  std::vector<OutputPart> parts;
  uint64_t first = 0;
  for (const auto& shape : SourceShapes(group, IndexOf(model, output.scatter_by))) {
    const uint64_t count = ElementCount("output '" + output.name + "'", shape);
    parts.push_back({shape, first, count});
    first += count;
  }
  if (static_cast<uint64_t>(TF_TensorElementCount(tensor)) == first) return parts;
  throw BackendError(
      TRITONSERVER_ERROR_INTERNAL, "output '" + output.name + "' came out of the model with shape " +
                                       ShapeText(ShapeOf(tensor)) + ", expected " + std::to_string(first) +
                                       " elements, as many as input '" + output.scatter_by + "' has");
}

}  // namespace

int64_t TotalRows(const Group& group) {
  int64_t rows = 0;
  for (const PendingRequest* request : group) rows += request->rows();
  return rows;
}

std::vector<Tensor> GatherInputs(const Model& model, const Group& group, int64_t rows, const Borrowers& borrowers) {
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < model.inputs().size(); ++i) {
    const bool present = group[0]->inputs()[i].present;
    inputs.push_back(present ? GatherInput(model, group, i, rows, borrowers) : Tensor());
  }
  for (const BatchInput& input : model.config().batch_inputs) {
    inputs.push_back(MakeBatchInput(input, SourceShapes(group, IndexOf(model, input.source))));
  }
  return inputs;
}

std::vector<std::vector<OutputPart>> CutOutputs(
    const Model& model, const Group& group, const std::vector<Tensor>& outputs, int64_t rows) {
  CheckRows(model, outputs, rows);
  std::vector<std::vector<OutputPart>> parts(group.size(), std::vector<OutputPart>(outputs.size()));
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i] == nullptr) continue;
    const BoundTensor& bound = model.outputs()[i];
    if (!bound.scatter_by.empty()) {
      const std::vector<OutputPart> scattered = ScatterParts(model, group, bound, outputs[i].get());
      for (size_t r = 0; r < group.size(); ++r) parts[r][i] = scattered[r];
      continue;
    }
    int64_t first_row = 0;
    for (size_t r = 0; r < group.size(); ++r) {
      parts[r][i] = PartByRows(model, bound, outputs[i].get(), first_row, group[r]->rows());
      first_row += group[r]->rows();
    }
  }
  return parts;
}

}  // namespace recserve
