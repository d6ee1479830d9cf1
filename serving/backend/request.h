// One request of Triton: reading it, answering it, and giving it back, the last two exactly once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model.h"
#include "triton_abi.h"

namespace recserve {

// Nanoseconds of the steady clock, as Triton's statistics expect them.
uint64_t NowNs();

struct Times {
  uint64_t exec_start_ns = 0;
  uint64_t compute_start_ns = 0;
  uint64_t compute_end_ns = 0;
  uint64_t exec_end_ns = 0;
};

struct BufferView {
  const void* data = nullptr;
  uint64_t bytes = 0;
};

struct InputView {
  std::vector<int64_t> shape;
  uint64_t bytes = 0;
  std::vector<BufferView> buffers;
};

class PendingRequest {
 public:
  explicit PendingRequest(TRITONBACKEND_Request* request) : request_(request) {}

  // Reads inputs and wanted outputs. Throws BackendError that names the input at fault.
  // A cancelled request is answered like any other: Triton drops those that wait in its queue itself, and up to 2.52
  // its gRPC frontend crashes if a cancelled request ends just as the cancellation arrives
  // (triton-inference-server/server issue 7368), which answering it sooner makes ten times as likely.
  void Read(const Model& model);

  const std::vector<InputView>& inputs() const { return inputs_; }
  int64_t rows() const { return rows_; }  // 1 if the model does not batch

  // True if the two can be concatenated: the same shape in all but the batch dimension.
  bool FitsWith(const PendingRequest& other) const;

  // Sends this request's rows of the outputs that it wants, or the error that came up on the way.
  // outputs: one per model.outputs(); first_row is where this request's rows start.
  void Answer(const Model& model, const std::vector<Tensor>& outputs, int64_t first_row, int64_t total_rows);
  void Fail(TRITONSERVER_Error_Code code, const std::string& message);
  bool answered() const { return answered_; }

  void set_times(const Times& times) { times_ = times; }

  // Reports statistics and gives the request back. Call once, after the answer.
  void Finish(TRITONBACKEND_ModelInstance* instance);

 private:
  InputView ReadInput(const BoundTensor& expected) const;
  void ReadWanted(const Model& model);
  void Send(TRITONBACKEND_Response* response, TRITONSERVER_Error* error);

  TRITONBACKEND_Request* request_;
  std::vector<InputView> inputs_;
  std::vector<size_t> wanted_;  // indices into model.outputs()
  int64_t rows_ = 1;
  bool answered_ = false;
  bool succeeded_ = false;
  Times times_;
};

}  // namespace recserve
