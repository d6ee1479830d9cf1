#include "request.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "status.h"

namespace recserve {

namespace {

[[noreturn]] void Invalid(const std::string& message) { throw BackendError(TRITONSERVER_ERROR_INVALID_ARG, message); }

uint64_t ByteSize(const std::string& label, const std::vector<int64_t>& shape, size_t element_bytes) {
  uint64_t bytes = element_bytes;
  for (const int64_t dim : shape) {
    if (dim < 0 || __builtin_mul_overflow(bytes, static_cast<uint64_t>(dim), &bytes)) {
      Invalid(label + " has impossible shape " + ShapeText(shape));
    }
  }
  return bytes;
}

void CheckShape(const std::string& label, const std::vector<int64_t>& shape, const std::vector<int64_t>& expected) {
  bool fits = shape.size() == expected.size();
  for (size_t i = 0; fits && i < shape.size(); ++i) fits = expected[i] == -1 || expected[i] == shape[i];
  if (!fits) Invalid(label + " has shape " + ShapeText(shape) + ", expected " + ShapeText(expected));
}

// A bool of C++ that is neither 0 nor 1 is undefined behaviour inside TensorFlow's kernels.
void CheckBools(const std::string& label, const InputView& view) {
  for (const BufferView& buffer : view.buffers) {
    const auto* bytes = static_cast<const uint8_t*>(buffer.data);
    for (uint64_t i = 0; i < buffer.bytes; ++i) {
      if (bytes[i] <= 1) continue;
      Invalid(label + " is BOOL and has a byte of value " + std::to_string(bytes[i]) + ", expected 0 or 1");
    }
  }
}

std::vector<BufferView> ReadBuffers(const std::string& label, TRITONBACKEND_Input* input, uint32_t count) {
  std::vector<BufferView> buffers;
  for (uint32_t i = 0; i < count; ++i) {
    BufferView view;
    TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
    int64_t memory_id = 0;
    Check(TRITONBACKEND_InputBuffer(input, i, &view.data, &view.bytes, &memory, &memory_id));
    if (memory == TRITONSERVER_MEMORY_GPU) Invalid(label + " is in GPU memory, expected CPU memory");
    if (view.bytes > 0) buffers.push_back(view);
  }
  return buffers;
}

void CopyRows(
    TRITONBACKEND_Response* response, const BoundTensor& bound, const TF_Tensor* tensor, bool batches,
    int64_t first_row, int64_t rows, int64_t total_rows) {
  std::vector<int64_t> shape;
  for (int i = 0; i < TF_NumDims(tensor); ++i) shape.push_back(TF_Dim(tensor, i));
  if (batches) shape[0] = rows;
  const uint64_t row_bytes = TF_TensorByteSize(tensor) / static_cast<uint64_t>(total_rows);
  const uint64_t bytes = row_bytes * static_cast<uint64_t>(rows);
  TRITONBACKEND_Output* output = nullptr;
  Check(TRITONBACKEND_ResponseOutput(
      response, &output, bound.name.c_str(), bound.dtype->triton, shape.data(), static_cast<uint32_t>(shape.size())));
  void* buffer = nullptr;
  TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
  int64_t memory_id = 0;
  Check(TRITONBACKEND_OutputBuffer(output, &buffer, bytes, &memory, &memory_id));
  if (memory == TRITONSERVER_MEMORY_GPU) {
    throw BackendError(TRITONSERVER_ERROR_UNSUPPORTED, "output '" + bound.name + "' was asked for in GPU memory");
  }
  const auto* source = static_cast<const char*>(TF_TensorData(tensor)) + row_bytes * static_cast<uint64_t>(first_row);
  if (bytes > 0) std::memcpy(buffer, source, bytes);
}

}  // namespace

uint64_t NowNs() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

void PendingRequest::Read(const Model& model) {
  uint32_t count = 0;
  Check(TRITONBACKEND_RequestInputCount(request_, &count));
  if (count > model.inputs().size()) {
    Invalid("the request has " + std::to_string(count) + " inputs, expected " + std::to_string(model.inputs().size()));
  }
  for (const BoundTensor& expected : model.inputs()) {
    inputs_.push_back(ReadInput(expected));
    if (!model.batches()) continue;
    const int64_t rows = inputs_.back().shape[0];
    if (rows < 1) Invalid("input '" + expected.name + "' has 0 rows, expected at least 1");
    if (inputs_.size() > 1 && rows != rows_) {
      Invalid("input '" + expected.name + "' has " + std::to_string(rows) + " rows, input '" +
              model.inputs()[0].name + "' has " + std::to_string(rows_));
    }
    rows_ = rows;
  }
  ReadWanted(model);
}

InputView PendingRequest::ReadInput(const BoundTensor& expected) const {
  const std::string label = "input '" + expected.name + "'";
  TRITONBACKEND_Input* input = nullptr;
  if (TRITONSERVER_Error* error = TRITONBACKEND_RequestInput(request_, expected.name.c_str(), &input)) {
    TRITONSERVER_ErrorDelete(error);
    Invalid(label + " is missing");
  }
  TRITONSERVER_DataType dtype = TRITONSERVER_TYPE_INVALID;
  const int64_t* dims = nullptr;
  uint32_t dims_count = 0, buffer_count = 0;
  InputView view;
  Check(TRITONBACKEND_InputProperties(input, nullptr, &dtype, &dims, &dims_count, &view.bytes, &buffer_count));
  view.shape.assign(dims, dims + dims_count);
  if (dtype != expected.dtype->triton) Invalid(label + " has another data type, expected " + expected.dtype->name);
  CheckShape(label, view.shape, expected.shape);
  view.buffers = ReadBuffers(label, input, buffer_count);
  uint64_t bytes = 0;
  for (const BufferView& buffer : view.buffers) bytes += buffer.bytes;
  const uint64_t expected_bytes = ByteSize(label, view.shape, expected.dtype->bytes);
  if (bytes != expected_bytes || view.bytes != expected_bytes) {
    Invalid(label + " has " + std::to_string(bytes) + " bytes, expected " + std::to_string(expected_bytes) +
            " for shape " + ShapeText(view.shape) + " of " + expected.dtype->name);
  }
  if (expected.dtype->triton == TRITONSERVER_TYPE_BOOL) CheckBools(label, view);
  return view;
}

void PendingRequest::ReadWanted(const Model& model) {
  uint32_t count = 0;
  Check(TRITONBACKEND_RequestOutputCount(request_, &count));
  for (uint32_t i = 0; i < count; ++i) {
    const char* name = nullptr;
    Check(TRITONBACKEND_RequestOutputName(request_, i, &name));
    const auto& outputs = model.outputs();
    const auto found =
        std::find_if(outputs.begin(), outputs.end(), [&](const BoundTensor& output) { return output.name == name; });
    if (found == outputs.end()) Invalid(std::string("output '") + name + "' is not known");
    wanted_.push_back(static_cast<size_t>(found - outputs.begin()));
  }
  if (count > 0) return;
  for (size_t i = 0; i < model.outputs().size(); ++i) wanted_.push_back(i);
}

bool PendingRequest::FitsWith(const PendingRequest& other) const {
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const auto& mine = inputs_[i].shape;
    const auto& theirs = other.inputs_[i].shape;
    if (mine.size() != theirs.size() || !std::equal(mine.begin() + 1, mine.end(), theirs.begin() + 1)) return false;
  }
  return true;
}

void PendingRequest::Answer(
    const Model& model, const std::vector<Tensor>& outputs, int64_t first_row, int64_t total_rows) {
  TRITONBACKEND_Response* response = nullptr;
  TRITONSERVER_Error* error = Guard([&] {
    Check(TRITONBACKEND_ResponseNew(&response, request_));
    for (const size_t index : wanted_) {
      CopyRows(response, model.outputs()[index], outputs[index].get(), model.batches(), first_row, rows_, total_rows);
    }
  });
  Send(response, error);
}

void PendingRequest::Fail(TRITONSERVER_Error_Code code, const std::string& message) {
  TRITONBACKEND_Response* response = nullptr;
  LogIfFailed(TRITONBACKEND_ResponseNew(&response, request_), "making an error response");
  Send(response, TRITONSERVER_ErrorNew(code, message.c_str()));
}

// Takes the error, which may be null. The response may be null only if Triton could not make one.
void PendingRequest::Send(TRITONBACKEND_Response* response, TRITONSERVER_Error* error) {
  answered_ = true;
  succeeded_ = error == nullptr;
  if (response != nullptr) {
    LogIfFailed(
        TRITONBACKEND_ResponseSend(response, TRITONSERVER_RESPONSE_COMPLETE_FINAL, error), "sending a response");
  }
  if (error != nullptr) TRITONSERVER_ErrorDelete(error);
}

void PendingRequest::Finish(TRITONBACKEND_ModelInstance* instance) {
  LogIfFailed(
      TRITONBACKEND_ModelInstanceReportStatistics(
          instance, request_, succeeded_, times_.exec_start_ns, times_.compute_start_ns, times_.compute_end_ns,
          times_.exec_end_ns),
      "reporting statistics");
  LogIfFailed(TRITONBACKEND_RequestRelease(request_, TRITONSERVER_REQUEST_RELEASE_ALL), "releasing a request");
}

}  // namespace recserve
