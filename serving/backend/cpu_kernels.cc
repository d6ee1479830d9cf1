#include "cpu_kernels.h"

#include <dlfcn.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <mutex>
#include <optional>
#include <set>
#include <sstream>
#include <vector>

#include "files.h"
#include "json.h"
#include "status.h"
#include "tensor.h"

namespace recserve {

namespace {

namespace fs = std::filesystem;

struct Library {
  std::string path;
  std::string target;
  std::set<std::string> instructions;
};

CpuKernels kernels;

// Of this processor, in the words of Linux.
std::set<std::string> ProcessorInstructions() {
  std::istringstream lines(ReadFile("/proc/cpuinfo"));
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("flags", 0) != 0) continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    return {std::istream_iterator<std::string>(words), {}};
  }
  return {};
}

Library ReadDescription(const fs::path& path) {
  const Json description = Json::Parse(ReadFile(fs::path(path).replace_extension(".json")));
  const auto text = [&](const char* key) {
    const Json* value = description.Find(key);
    return value != nullptr ? value->AsString() : "";
  };
  Library library{path.string(), text("target"), {}};
  if (text("tensorflow") != TF_Version()) {
    throw BackendError(
        TRITONSERVER_ERROR_UNSUPPORTED,
        "compiled for TensorFlow " + text("tensorflow") + ", the server has " + TF_Version());
  }
  const Json* instructions = description.Find("instructions");
  if (instructions == nullptr || instructions->items().empty()) {
    throw BackendError(TRITONSERVER_ERROR_INVALID_ARG, "its description names no instructions");
  }
  for (const Json& name : instructions->items()) library.instructions.insert(name.AsString());
  return library;
}

std::vector<fs::path> LibrariesIn(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  if (fs::exists(folder / "libkernels.so", error)) found.push_back(folder / "libkernels.so");
  for (fs::directory_iterator item(folder, error), end; !error && item != end; item.increment(error)) {
    const fs::path path = item->path() / "libkernels.so";
    std::error_code none;
    if (fs::exists(path, none)) found.push_back(path);
  }
  return found;
}

std::optional<Library> MostCapable(const std::string& folder, const std::set<std::string>& here) {
  std::optional<Library> best;
  for (const fs::path& path : LibrariesIn(folder)) {
    try {
      Library library = ReadDescription(path);
      const auto& needed = library.instructions;
      const bool runs = std::includes(here.begin(), here.end(), needed.begin(), needed.end());
      if (runs && (!best || needed.size() > best->instructions.size())) best = std::move(library);
    } catch (const BackendError& error) {
      Log(TRITONSERVER_LOG_WARN, "CPU kernels " + path.string() + " are not used: " + error.what());
    }
  }
  return best;
}

void Load(const std::string& folder) {
  const std::set<std::string> here = ProcessorInstructions();
  const std::optional<Library> library = MostCapable(folder, here);
  if (!library) {
    Log(TRITONSERVER_LOG_INFO, "no CPU kernels for this processor in " + folder + ": graphs of TensorFlow's own operations are served");
    return;
  }
  Owned<TF_Status> status(TF_NewStatus());
  TF_LoadLibrary(library->path.c_str(), status.get());  // stays for the life of the process
  CheckTensorFlow(status.get(), "loading the CPU kernels " + library->path);
  kernels.loaded = true;
  // Where there are tiles (AMX), TensorFlow's own products use them, and ours do not.
  kernels.bfloat16 = library->instructions.count("avx512_bf16") > 0 && here.count("amx_bf16") == 0;
  Log(TRITONSERVER_LOG_INFO, "CPU kernels for " + library->target + " from " + library->path);
}

}  // namespace

void LoadCpuKernels(const std::string& folder) {
  static std::once_flag once;
  std::call_once(once, [&] {
    try {
      Load(folder);
    } catch (const BackendError& error) {
      Log(TRITONSERVER_LOG_WARN, std::string("going on without CPU kernels: ") + error.what());
    }
  });
}

const CpuKernels& LoadedCpuKernels() { return kernels; }

std::string DefaultKernelsFolder() {
  Dl_info info = {};
  if (dladdr(reinterpret_cast<const void*>(&DefaultKernelsFolder), &info) == 0 || info.dli_fname == nullptr) return "";
  return (fs::path(info.dli_fname).parent_path() / "kernels").string();
}

}  // namespace recserve
