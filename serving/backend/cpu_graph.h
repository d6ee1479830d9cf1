// The second graph of a SavedModel: the same function in recserve's CPU operations, on the same variables.
//
// `recserve export` writes it into assets.extra, where TensorFlow and every other backend leave it alone:
//   assets.extra/recserve_cpu/saved_model.pb   the graph
//   assets.extra/recserve_cpu/cpu_graph.json   {"interface": 1, "dtype": "float32", "crc32": {file: of which it is the twin}}
#pragma once

#include <memory>
#include <string>

#include "parameters.h"

namespace recserve {

// A folder that TensorFlow can load: links to the second graph and to the variables. Removed with this.
class StagedCpuGraph {
 public:
  explicit StagedCpuGraph(const std::string& saved_model);  // throws BackendError if it cannot be made
  ~StagedCpuGraph();
  StagedCpuGraph(const StagedCpuGraph&) = delete;
  StagedCpuGraph& operator=(const StagedCpuGraph&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Null if the SavedModel has no such graph, or it is not to be used: the configuration says so or asks for XLA or another
// tag, the kernels do not run here, or it belongs to other files. Logs the last two. Throws nothing.
std::unique_ptr<StagedCpuGraph> StageCpuGraph(const std::string& saved_model, const SessionOptions& options);

}  // namespace recserve
