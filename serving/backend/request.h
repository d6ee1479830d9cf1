// One request of Triton: reading it, answering it, and giving it back, the last two exactly once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model.h"
#include "outputs.h"
#include "string_tensor.h"
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

struct InputView {
  bool present = false;
  std::vector<int64_t> shape;
  uint64_t bytes = 0;
  std::vector<BufferView> buffers;
};

class PendingRequest {
 public:
  explicit PendingRequest(TRITONBACKEND_Request* request) : request_(request) {}

  bool IsCancelled() const;

  // Reads inputs and wanted outputs. Throws BackendError that names the input at fault.
  void Read(const Model& model);

  const std::vector<InputView>& inputs() const { return inputs_; }  // one per model.inputs()
  const std::vector<bool>& wanted() const { return wanted_; }       // one per model.outputs()
  int64_t rows() const { return rows_; }                            // 1 if the model does not batch

  // True if the two can be one batch: the same inputs, of the same shapes in all but the batch dimension.
  bool FitsWith(const PendingRequest& other, const Model& model) const;

  // Makes the response and writes this request's parts of the wanted outputs into it; an error becomes the response's.
  // outputs and parts: one per model.outputs().
  void Prepare(const Model& model, const std::vector<Tensor>& outputs, const std::vector<OutputPart>& parts);
  // Sends what Prepare has made.
  void Send();
  // Sends an error.
  void Fail(TRITONSERVER_Error_Code code, const std::string& message);
  bool answered() const { return answered_; }

  void set_times(const Times& times) { times_ = times; }

  // Reports statistics and gives the request back. Call once, after the answer.
  void Finish(TRITONBACKEND_ModelInstance* instance);

 private:
  void ReadRows(const Model& model);
  InputView ReadInput(const BoundTensor& expected) const;
  InputView RepeatDefault(const DefaultValue& value, bool batches) const;
  void ReadWanted(const Model& model);

  TRITONBACKEND_Request* request_;
  std::vector<InputView> inputs_;
  std::vector<bool> wanted_;
  int64_t rows_ = 1;
  TRITONBACKEND_Response* response_ = nullptr;
  TRITONSERVER_Error* error_ = nullptr;
  bool answered_ = false;
  bool succeeded_ = false;
  Times times_;
};

using Requests = std::vector<std::unique_ptr<PendingRequest>>;

}  // namespace recserve
