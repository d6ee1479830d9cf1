// One instance of a model: it runs the graph in its session, which it may share.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "give_way.h"
#include "model.h"
#include "tensor.h"

namespace recserve {

class Instance {
 public:
  // Takes a session, finds the signature's tensors in its graph, prepares the graph if the configuration has a warmup,
  // and warms the buckets if it asks for that.
  // Throws BackendError if the graph lacks a tensor, has no default for an optional input, or fails while warming.
  explicit Instance(Model* model);

  const Model& model() const { return *model_; }

  // inputs: one per model inputs(), then one per batch_inputs(); null for one that is left out.
  // wanted: one per outputs(). The result has one tensor per outputs(), null for those that are not wanted.
  // Throws BackendError with TensorFlow's message if the graph fails.
  std::vector<Tensor> Run(const std::vector<Tensor>& inputs, const std::vector<bool>& wanted);

  // Whether inputs may be read in place: never for a graph that could keep them (input_retention.h).
  bool may_borrow() { return session_->may_borrow_inputs(model_->signature()); }
  void ForbidBorrowing() { session_->ForbidBorrowing(); }

  // To be called after each batch.
  void GiveWayToRequests() {
    if (model_->config().dynamic_batching) give_way_();
  }

 private:
  TF_Output FindNode(const BoundTensor& tensor) const;
  void CheckOptional(size_t input) const;
  std::vector<bool> Computed(const std::vector<bool>& wanted);
  void AtLowPriority(const std::function<void()>& work) const;
  void Prepare();
  std::vector<Tensor> ZerosOfSample(const WarmupSample& sample) const;
  void Warm();
  std::vector<Tensor> ZerosOfBucket(int64_t rows) const;
  std::vector<Tensor> Zeros(const std::vector<std::vector<int64_t>>& shapes) const;

  Model* model_;
  std::shared_ptr<Session> session_;
  std::vector<TF_Output> input_nodes_;
  std::vector<TF_Output> output_nodes_;
  GiveWay give_way_;
};

}  // namespace recserve
