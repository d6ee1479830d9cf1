#include "request.h"

#include <algorithm>
#include <chrono>

#include "status.h"

namespace recserve {

namespace {

[[noreturn]] void Invalid(const std::string& message) { throw BackendError(TRITONSERVER_ERROR_INVALID_ARG, message); }

// A bool of C++ that is neither 0 nor 1 is undefined behaviour inside TensorFlow's kernels.
void CheckBools(const std::string& label, const InputView& view) {
  for (const BufferView& buffer : view.buffers) {
    const auto* bytes = static_cast<const uint8_t*>(buffer.data);
    const auto* bad = std::find_if(bytes, bytes + buffer.bytes, [](uint8_t byte) { return byte > 1; });
    if (bad != bytes + buffer.bytes) {
      Invalid(label + " is BOOL and has a byte of value " + std::to_string(*bad) + ", expected 0 or 1");
    }
  }
}

// BYTES elements tell their own sizes and are checked when they are decoded.
void CheckSize(const std::string& label, const InputView& view, const Dtype& dtype) {
  uint64_t bytes = 0, expected = 0;
  for (const BufferView& buffer : view.buffers) bytes += buffer.bytes;
  const uint64_t count = ElementCount(label, view.shape);
  if (dtype.tensorflow == TF_STRING) return;
  if (__builtin_mul_overflow(count, dtype.bytes, &expected)) Invalid(label + " has impossible shape " + ShapeText(view.shape));
  if (bytes == expected && view.bytes == expected) return;
  Invalid(label + " has " + std::to_string(bytes) + " bytes, expected " + std::to_string(expected) + " for shape " +
          ShapeText(view.shape) + " of " + dtype.name);
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

}  // namespace

uint64_t NowNs() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

bool PendingRequest::IsCancelled() const {
  bool cancelled = false;
  LogIfFailed(TRITONBACKEND_RequestIsCancelled(request_, &cancelled), "asking whether a request is cancelled");
  return cancelled;
}

void PendingRequest::Read(const Model& model) {
  uint32_t count = 0;
  Check(TRITONBACKEND_RequestInputCount(request_, &count));
  if (count > model.inputs().size()) {
    Invalid("the request has " + std::to_string(count) + " inputs, expected " + std::to_string(model.inputs().size()));
  }
  for (const BoundTensor& expected : model.inputs()) inputs_.push_back(ReadInput(expected));
  if (model.batches()) ReadRows(model);
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const auto& value = model.default_of(i);
    if (!inputs_[i].present && value.has_value()) inputs_[i] = RepeatDefault(*value, model.batches());
  }
  ReadWanted(model);
}

void PendingRequest::ReadRows(const Model& model) {
  const std::string* first = nullptr;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    if (!inputs_[i].present) continue;
    const std::string& name = model.inputs()[i].name;
    const int64_t rows = inputs_[i].shape[0];
    if (rows < 1) Invalid("input '" + name + "' has 0 rows, expected at least 1");
    if (first != nullptr && rows != rows_) {
      Invalid("input '" + name + "' has " + std::to_string(rows) + " rows, input '" + *first + "' has " +
              std::to_string(rows_));
    }
    rows_ = rows;
    if (first == nullptr) first = &name;
  }
}

InputView PendingRequest::RepeatDefault(const DefaultValue& value, bool batches) const {
  InputView view;
  view.present = true;
  view.shape = value.shape;
  if (batches) view.shape[0] = rows_;
  view.buffers.assign(static_cast<size_t>(rows_), {value.bytes.data(), value.bytes.size()});
  view.bytes = value.bytes.size() * static_cast<uint64_t>(rows_);
  return view;
}

InputView PendingRequest::ReadInput(const BoundTensor& expected) const {
  const std::string label = "input '" + expected.name + "'";
  TRITONBACKEND_Input* input = nullptr;
  InputView view;
  if (TRITONSERVER_Error* error = TRITONBACKEND_RequestInput(request_, expected.name.c_str(), &input)) {
    TRITONSERVER_ErrorDelete(error);
    if (!expected.optional) Invalid(label + " is missing");
    return view;
  }
  view.present = true;
  TRITONSERVER_DataType dtype = TRITONSERVER_TYPE_INVALID;
  const int64_t* dims = nullptr;
  uint32_t dims_count = 0, buffer_count = 0;
  Check(TRITONBACKEND_InputProperties(input, nullptr, &dtype, &dims, &dims_count, &view.bytes, &buffer_count));
  view.shape.assign(dims, dims + dims_count);
  if (dtype != expected.dtype->triton) Invalid(label + " has another data type, expected " + expected.dtype->name);
  if (!Matches(view.shape, expected.shape)) {
    Invalid(label + " has shape " + ShapeText(view.shape) + ", expected " + ShapeText(expected.shape));
  }
  view.buffers = ReadBuffers(label, input, buffer_count);
  CheckSize(label, view, *expected.dtype);
  if (expected.dtype->triton == TRITONSERVER_TYPE_BOOL) CheckBools(label, view);
  return view;
}

void PendingRequest::ReadWanted(const Model& model) {
  uint32_t count = 0;
  Check(TRITONBACKEND_RequestOutputCount(request_, &count));
  wanted_.assign(model.outputs().size(), count == 0);  // none named: all
  for (uint32_t i = 0; i < count; ++i) {
    const char* name = nullptr;
    Check(TRITONBACKEND_RequestOutputName(request_, i, &name));
    const auto& outputs = model.outputs();
    const auto found =
        std::find_if(outputs.begin(), outputs.end(), [&](const BoundTensor& output) { return output.name == name; });
    if (found == outputs.end()) Invalid(std::string("output '") + name + "' is not known");
    wanted_[static_cast<size_t>(found - outputs.begin())] = true;
  }
}

bool PendingRequest::FitsWith(const PendingRequest& other, const Model& model) const {
  if (!model.batches()) return false;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const InputView &mine = inputs_[i], &theirs = other.inputs_[i];
    if (mine.present != theirs.present) return false;
    if (!mine.present || model.inputs()[i].ragged) continue;
    if (!std::equal(mine.shape.begin() + 1, mine.shape.end(), theirs.shape.begin() + 1, theirs.shape.end())) {
      return false;
    }
  }
  return true;
}

void PendingRequest::Prepare(
    const Model& model, const std::vector<Tensor>& outputs, const std::vector<OutputPart>& parts) {
  error_ = Guard([&] {
    Check(TRITONBACKEND_ResponseNew(&response_, request_));
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (wanted_[i]) WriteOutput(response_, model.outputs()[i], outputs[i].get(), parts[i]);
    }
  });
}

void PendingRequest::Fail(TRITONSERVER_Error_Code code, const std::string& message) {
  if (error_ != nullptr) TRITONSERVER_ErrorDelete(error_);
  error_ = TRITONSERVER_ErrorNew(code, message.c_str());
  if (response_ == nullptr) LogIfFailed(TRITONBACKEND_ResponseNew(&response_, request_), "making an error response");
  Send();
}

// The response is null only if Triton could not make one.
void PendingRequest::Send() {
  answered_ = true;
  succeeded_ = error_ == nullptr;
  if (response_ != nullptr) {
    LogIfFailed(
        TRITONBACKEND_ResponseSend(response_, TRITONSERVER_RESPONSE_COMPLETE_FINAL, error_), "sending a response");
  }
  if (error_ != nullptr) TRITONSERVER_ErrorDelete(error_);
  response_ = nullptr;
  error_ = nullptr;
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
