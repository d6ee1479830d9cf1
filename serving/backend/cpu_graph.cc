#include "cpu_graph.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "cpu_kernels.h"
#include "files.h"
#include "json.h"
#include "status.h"

namespace recserve {

namespace {

namespace fs = std::filesystem;

constexpr int64_t kInterface = 1;  // of export/cpu_graph.py: what the operations are called and mean

fs::path GraphFolder(const std::string& saved_model) { return fs::path(saved_model) / "assets.extra" / "recserve_cpu"; }

// "" if the graph can be used, else why not.
std::string Objection(const std::string& saved_model) {
  const CpuKernels& kernels = LoadedCpuKernels();
  if (!kernels.loaded) return "there are no CPU kernels for this processor";
  const Json description = Json::Parse(ReadFile(GraphFolder(saved_model) / "cpu_graph.json"));
  const Json* interface = description.Find("interface");
  if (interface == nullptr || interface->AsInt() != kInterface) {
    return "it is for other CPU kernels than these. Export the model again";
  }
  const Json* dtype = description.Find("dtype");
  if (dtype != nullptr && dtype->AsString() == "bfloat16" && !kernels.bfloat16) {
    return "TensorFlow's bfloat16 is faster on this processor, or the kernels have none";
  }
  const Json* sums = description.Find("crc32");
  if (sums == nullptr || sums->members().empty()) return "cpu_graph.json does not say whose twin it is";
  for (const auto& [file, sum] : sums->members()) {
    if (Crc32(ReadFile(fs::path(saved_model) / file)) != static_cast<uint32_t>(sum.AsInt(-1))) {
      return "it is the twin of another " + file + ". Export the model again";
    }
  }
  return "";
}

}  // namespace

StagedCpuGraph::StagedCpuGraph(const std::string& saved_model) {
  std::error_code error;
  std::string name = (fs::temp_directory_path(error) / "recserve-XXXXXX").string();
  if (error || mkdtemp(name.data()) == nullptr) {
    throw BackendError(
        TRITONSERVER_ERROR_UNAVAILABLE, "cannot make the folder " + name + ": " + (error ? error.message() : std::strerror(errno)));
  }
  path_ = name;
  const fs::path model = fs::absolute(saved_model);
  fs::create_symlink(GraphFolder(model) / "saved_model.pb", fs::path(path_) / "saved_model.pb", error);
  for (const char* folder : {"variables", "assets"}) {
    if (!error && fs::exists(model / folder)) fs::create_directory_symlink(model / folder, fs::path(path_) / folder, error);
  }
  if (!error) return;
  fs::remove_all(path_);
  throw BackendError(TRITONSERVER_ERROR_UNAVAILABLE, "cannot write to " + path_ + ": " + error.message());
}

StagedCpuGraph::~StagedCpuGraph() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::unique_ptr<StagedCpuGraph> StageCpuGraph(const std::string& saved_model, const SessionOptions& options) {
  std::error_code error;
  const bool asked = options.cpu_kernels && options.graph_level <= 0 && options.graph_tag == SessionOptions().graph_tag;
  if (!asked || !fs::exists(GraphFolder(saved_model) / "saved_model.pb", error)) return nullptr;
  std::string objection;
  try {
    objection = Objection(saved_model);
    if (objection.empty()) return std::make_unique<StagedCpuGraph>(saved_model);
  } catch (const std::exception& failure) {
    objection = failure.what();
  }
  Log(TRITONSERVER_LOG_WARN, saved_model + ": its graph of CPU kernels is not used: " + objection);
  return nullptr;
}

}  // namespace recserve
