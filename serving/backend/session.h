// A SavedModel loaded into TensorFlow: one graph, one copy of its variables, usable from many threads.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "parameters.h"
#include "signature.h"
#include "tensor.h"

namespace recserve {

class Session {
 public:
  // Throws BackendError with TensorFlow's message if the SavedModel cannot be loaded. uses_cpu_kernels: see cpu_graph.h.
  Session(const std::string& path, const SessionOptions& options, bool uses_cpu_kernels);

  const Signatures& signatures() const { return signatures_; }
  double load_ms() const { return load_ms_; }
  bool uses_cpu_kernels() const { return uses_cpu_kernels_; }

  // "serving_default_user_id:0" -> operation and output number; {null, 0} if the graph has no such tensor.
  TF_Output Find(const std::string& tensor_name) const;

  // Runs the graph from any thread. One result per fetched node. Throws BackendError with TensorFlow's message.
  std::vector<Tensor> Run(
      const std::vector<TF_Output>& feeds, const std::vector<TF_Tensor*>& values,
      const std::vector<TF_Output>& fetches);

  // True if a run may fetch only these outputs of the signature. TensorFlow builds an executor for every new set of
  // outputs and keeps it, so the sets are limited; the caller fetches all outputs instead.
  bool MayFetchOnly(const std::string& signature, const std::vector<bool>& wanted);

  // Whether the outputs of that signature can be computed with inputs that are read in place (see input_retention.h).
  bool may_borrow_inputs(const std::string& signature);
  void ForbidBorrowing();

  // Runs the function if no one has done so under that name; others wait until it is done.
  void Once(const std::string& name, const std::function<void()>& function);

 private:
  Owned<TF_Buffer> run_options_;
  // The graph must outlive the session: members are destroyed in reverse order.
  Owned<TF_Graph> graph_;
  Owned<TF_Session> session_;
  Signatures signatures_;
  std::map<std::string, bool> may_borrow_;
  double load_ms_ = 0;
  const bool uses_cpu_kernels_;
  std::mutex mutex_;  // guards the next two, and may_borrow_ once loaded
  std::map<std::string, std::set<std::vector<bool>>> fetched_;
  std::mutex once_mutex_;
  std::set<std::string> done_;
};

}  // namespace recserve
