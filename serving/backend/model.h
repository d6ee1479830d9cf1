// One version of a model: its SavedModel, loaded into one TensorFlow session that all instances share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "binding.h"
#include "model_config.h"
#include "tensorflow/c/c_api.h"

namespace recserve {

struct TensorFlowDeleter {
  void operator()(TF_Status* status) const { TF_DeleteStatus(status); }
  void operator()(TF_Buffer* buffer) const { TF_DeleteBuffer(buffer); }
  void operator()(TF_Graph* graph) const { TF_DeleteGraph(graph); }
  void operator()(TF_Tensor* tensor) const { TF_DeleteTensor(tensor); }
  void operator()(TF_SessionOptions* options) const { TF_DeleteSessionOptions(options); }
  void operator()(TF_Session* session) const;
};

template <typename T>
using Owned = std::unique_ptr<T, TensorFlowDeleter>;
using Tensor = Owned<TF_Tensor>;

class Model {
 public:
  // Loads <folder>/<saved_model_folder>. Throws BackendError if it cannot be loaded or does not fit the config.
  // label: "model 'sim' version 3", leads log lines.
  Model(std::string label, const std::string& folder, ModelConfig config);

  const std::string& label() const { return label_; }
  bool batches() const { return config_.max_batch_size > 0; }
  const std::vector<BoundTensor>& inputs() const { return binding_.inputs; }
  const std::vector<BoundTensor>& outputs() const { return binding_.outputs; }

  // Runs the graph. inputs: one tensor per inputs(); the result: one tensor per outputs(), whatever a request asks for.
  // TensorFlow optimises a new executor for every set of outputs it has not seen: with one fixed set, the readiness
  // check's request pays for all. Thread-safe. Throws BackendError with TensorFlow's message if the graph fails.
  std::vector<Tensor> Run(const std::vector<Tensor>& inputs) const;

 private:
  void LogLoaded(const std::string& path, double load_ms) const;

  std::string label_;
  ModelConfig config_;
  Binding binding_;
  Owned<TF_Buffer> run_options_;
  // The graph must outlive the session: members are destroyed in reverse order.
  Owned<TF_Graph> graph_;
  Owned<TF_Session> session_;
  std::vector<TF_Output> input_nodes_;
  std::vector<TF_Output> output_nodes_;
};

}  // namespace recserve
