#include "outputs.h"

#include <cstring>

#include "status.h"
#include "string_tensor.h"

namespace recserve {

void CheckRows(const Model& model, const std::vector<Tensor>& outputs, int64_t rows) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const BoundTensor& bound = model.outputs()[i];
    if (outputs[i] == nullptr || !bound.scatter_by.empty()) continue;
    const std::vector<int64_t> shape = ShapeOf(outputs[i].get());
    std::vector<int64_t> expected = bound.shape;
    if (model.batches()) expected[0] = rows;
    if (bound.scalar) expected.clear();
    if (!Matches(shape, expected)) {
      throw BackendError(
          TRITONSERVER_ERROR_INTERNAL, "output '" + bound.name + "' came out of the model with shape " +
                                           ShapeText(shape) + ", expected " + ShapeText(expected));
    }
  }
}

OutputPart PartByRows(
    const Model& model, const BoundTensor& bound, const TF_Tensor* tensor, int64_t first_row, int64_t rows) {
  OutputPart part;
  part.shape = bound.scalar ? bound.shape : ShapeOf(tensor);
  const uint64_t elements = static_cast<uint64_t>(TF_TensorElementCount(tensor));
  part.count = elements;
  if (!model.batches()) return part;
  const uint64_t elements_per_row = elements / static_cast<uint64_t>(part.shape[0]);
  part.first = elements_per_row * static_cast<uint64_t>(first_row);
  part.count = elements_per_row * static_cast<uint64_t>(rows);
  part.shape[0] = rows;
  return part;
}

void WriteOutput(
    TRITONBACKEND_Response* response, const BoundTensor& bound, const TF_Tensor* tensor, const OutputPart& part) {
  const bool strings = bound.dtype->tensorflow == TF_STRING;
  const uint64_t bytes = strings ? EncodedSize(tensor, part.first, part.count) : part.count * bound.dtype->bytes;
  TRITONBACKEND_Output* output = nullptr;
  Check(TRITONBACKEND_ResponseOutput(
      response, &output, bound.name.c_str(), bound.dtype->triton, part.shape.data(),
      static_cast<uint32_t>(part.shape.size())));
  void* buffer = nullptr;
  TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
  int64_t memory_id = 0;
  Check(TRITONBACKEND_OutputBuffer(output, &buffer, bytes, &memory, &memory_id));
  if (memory == TRITONSERVER_MEMORY_GPU) {
    throw BackendError(TRITONSERVER_ERROR_UNSUPPORTED, "output '" + bound.name + "' was asked for in GPU memory");
  }
  if (bytes == 0) return;
  if (strings) {
    EncodeStrings(tensor, part.first, part.count, static_cast<char*>(buffer));
  } else {
    std::memcpy(buffer, static_cast<const char*>(TF_TensorData(tensor)) + part.first * bound.dtype->bytes, bytes);
  }
}

}  // namespace recserve
