#include "execute.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "request.h"
#include "status.h"

namespace recserve {

namespace {

// Requests that run as one batch, in order.
using Group = std::vector<PendingRequest*>;

int64_t TotalRows(const Group& group) {
  int64_t rows = 0;
  for (const PendingRequest* request : group) rows += request->rows();
  return rows;
}

// Copies, even where one buffer would do. TensorFlow would read it in place, but a graph may keep the tensor longer
// than the run (a variable that is assigned its input does), and Triton's gRPC frontend reuses the memory as soon as
// the response is sent, released request or not.
Tensor ConcatenateInput(const Model& model, const Group& group, size_t index) {
  std::vector<int64_t> shape = group[0]->inputs()[index].shape;
  if (model.batches()) shape[0] = TotalRows(group);
  uint64_t bytes = 0;
  for (const PendingRequest* request : group) bytes += request->inputs()[index].bytes;
  Tensor tensor(
      TF_AllocateTensor(model.inputs()[index].dtype->tensorflow, shape.data(), static_cast<int>(shape.size()), bytes));
  if (tensor == nullptr) {
    throw BackendError(TRITONSERVER_ERROR_UNAVAILABLE, "no memory for an input of " + std::to_string(bytes) + " bytes");
  }
  char* target = static_cast<char*>(TF_TensorData(tensor.get()));
  for (const PendingRequest* request : group) {
    for (const BufferView& buffer : request->inputs()[index].buffers) {
      std::memcpy(target, buffer.data, buffer.bytes);
      target += buffer.bytes;
    }
  }
  return tensor;
}

std::vector<Tensor> GatherInputs(const Model& model, const Group& group) {
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < model.inputs().size(); ++i) {
    inputs.push_back(ConcatenateInput(model, group, i));
  }
  return inputs;
}

// What the graph returned must be cut by rows, so its shape is checked, not trusted.
void CheckOutputs(const Model& model, const std::vector<Tensor>& outputs, int64_t rows) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const BoundTensor& bound = model.outputs()[i];
    std::vector<int64_t> shape, expected = bound.shape;
    for (int d = 0; d < TF_NumDims(outputs[i].get()); ++d) shape.push_back(TF_Dim(outputs[i].get(), d));
    if (model.batches()) expected[0] = rows;
    bool fits = shape.size() == expected.size();
    for (size_t d = 0; fits && d < shape.size(); ++d) fits = expected[d] == -1 || expected[d] == shape[d];
    if (!fits) {
      throw BackendError(
          TRITONSERVER_ERROR_INTERNAL, "output '" + bound.name + "' came out of the model with shape " +
                                           ShapeText(shape) + ", expected " + ShapeText(expected));
    }
  }
}

class Execution {
 public:
  Execution(const Model& model, TRITONBACKEND_ModelInstance* instance) : model_(model), instance_(instance) {}

  void Run(const std::vector<std::unique_ptr<PendingRequest>>& requests) {
    const uint64_t start_ns = NowNs();
    for (const auto& request : requests) {
      request->set_times({start_ns, start_ns, start_ns, start_ns});
      Admit(request.get());
    }
    for (const Group& group : groups_) RunGroup(group);
  }

 private:
  void Admit(PendingRequest* request) {
    try {
      request->Read(model_);
    } catch (const BackendError& error) {
      request->Fail(error.code(), error.what());
      return;
    }
    const auto fitting = std::find_if(groups_.begin(), groups_.end(), [&](const Group& group) {
      return model_.batches() && group[0]->FitsWith(*request);
    });
    if (fitting != groups_.end()) {
      fitting->push_back(request);
    } else {
      groups_.push_back({request});
    }
  }

  // A batch that fails is run again one request at a time, so that only the guilty one fails.
  void RunGroup(const Group& group) {
    Times times;
    times.exec_start_ns = NowNs();
    try {
      ComputeAndAnswer(group, &times);
    } catch (const BackendError& error) {
      if (group.size() > 1) {
        for (PendingRequest* request : group) RunGroup({request});
        return;
      }
      times.exec_end_ns = NowNs();
      group[0]->set_times(times);
      group[0]->Fail(error.code(), error.what());
    }
  }

  // Throws only before the first answer is sent.
  void ComputeAndAnswer(const Group& group, Times* times) {
    const int64_t rows = TotalRows(group);
    const std::vector<Tensor> inputs = GatherInputs(model_, group);
    times->compute_start_ns = times->compute_end_ns = NowNs();
    const std::vector<Tensor> outputs = model_.Run(inputs);
    times->compute_end_ns = NowNs();
    CheckOutputs(model_, outputs, rows);
    int64_t first_row = 0;
    for (PendingRequest* request : group) {
      request->Answer(model_, outputs, first_row, rows);
      first_row += request->rows();
    }
    times->exec_end_ns = NowNs();
    for (PendingRequest* request : group) request->set_times(*times);
    LogIfFailed(
        TRITONBACKEND_ModelInstanceReportBatchStatistics(
            instance_, static_cast<uint64_t>(rows), times->exec_start_ns, times->compute_start_ns,
            times->compute_end_ns, times->exec_end_ns),
        "reporting batch statistics");
  }

  const Model& model_;
  TRITONBACKEND_ModelInstance* instance_;
  std::vector<Group> groups_;
};

}  // namespace

void Execute(
    const Model& model, TRITONBACKEND_ModelInstance* instance, TRITONBACKEND_Request** requests, uint32_t count) {
  std::vector<std::unique_ptr<PendingRequest>> pending;
  for (uint32_t i = 0; i < count; ++i) pending.push_back(std::make_unique<PendingRequest>(requests[i]));
  std::string failure = "the batch was not run";
  try {
    Execution(model, instance).Run(pending);
  } catch (const std::exception& error) {
    failure = error.what();
  }
  for (const auto& request : pending) {
    if (!request->answered()) request->Fail(TRITONSERVER_ERROR_INTERNAL, failure);
    request->Finish(instance);
  }
}

}  // namespace recserve
