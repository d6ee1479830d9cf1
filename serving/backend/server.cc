#include "server.h"

#include <cstdio>

#include "status.h"

namespace recserve {

namespace {

constexpr int kFirstSafeCancelling = 53;  // Triton 2.53

Json ParseAndDelete(TRITONSERVER_Message* message) {
  const char* text = nullptr;
  size_t size = 0;
  TRITONSERVER_Error* error = TRITONSERVER_MessageSerializeToJson(message, &text, &size);
  const std::string copy = error == nullptr ? std::string(text, size) : std::string();
  LogIfFailed(TRITONSERVER_MessageDelete(message), "freeing a message");
  Check(error);
  return Json::Parse(copy);
}

// "" if the command line has no such option.
std::string Option(TRITONBACKEND_Backend* backend, const char* key) {
  TRITONSERVER_Message* message = nullptr;
  Check(TRITONBACKEND_BackendConfig(backend, &message));  // the server's own: not ours to free
  const char* text = nullptr;
  size_t size = 0;
  Check(TRITONSERVER_MessageSerializeToJson(message, &text, &size));
  const Json config = Json::Parse(std::string_view(text, size));
  const Json* options = config.Find("cmdline");
  const Json* value = options != nullptr ? options->Find(key) : nullptr;
  return value != nullptr ? value->AsString() : "";
}

[[noreturn]] void Malformed(const std::string& key, const std::string& value, const std::string& expected) {
  throw BackendError(
      TRITONSERVER_ERROR_INVALID_ARG,
      "--backend-config=tensorflow," + key + "=" + value + ": expected " + expected);
}

bool ServerCancelsSafely(TRITONBACKEND_Model* model) {
  TRITONSERVER_Server* server = nullptr;
  TRITONSERVER_Message* message = nullptr;
  Check(TRITONBACKEND_ModelServer(model, &server));
  Check(TRITONSERVER_ServerMetadata(server, &message));
  const Json metadata = ParseAndDelete(message);
  const Json* version = metadata.Find("version");
  int major = 0, minor = 0;
  const bool known =
      version != nullptr && std::sscanf(version->AsString().c_str(), "%d.%d", &major, &minor) == 2;
  return known && (major > 2 || (major == 2 && minor >= kFirstSafeCancelling));
}

}  // namespace

Json ReadConfig(TRITONBACKEND_Model* model) {
  TRITONSERVER_Message* message = nullptr;
  Check(TRITONBACKEND_ModelConfig(model, 1, &message));
  return ParseAndDelete(message);
}

void WriteConfig(TRITONBACKEND_Model* model, const Json& config) {
  const std::string text = config.Write();
  TRITONSERVER_Message* message = nullptr;
  Check(TRITONSERVER_MessageNewFromSerializedJson(&message, text.data(), text.size()));
  TRITONSERVER_Error* error = TRITONBACKEND_ModelSetConfig(model, 1, message);
  LogIfFailed(TRITONSERVER_MessageDelete(message), "freeing the model configuration");
  Check(error);
}

std::string VersionFolder(TRITONBACKEND_Model* model) {
  TRITONBACKEND_ArtifactType type = TRITONBACKEND_ARTIFACT_FILESYSTEM;
  const char* location = nullptr;
  uint64_t version = 0;
  Check(TRITONBACKEND_ModelRepository(model, &type, &location));
  Check(TRITONBACKEND_ModelVersion(model, &version));
  if (type != TRITONBACKEND_ARTIFACT_FILESYSTEM) {
    throw BackendError(TRITONSERVER_ERROR_UNSUPPORTED, "the model repository is not a folder");
  }
  return std::string(location) + "/" + std::to_string(version);
}

std::string Label(TRITONBACKEND_Model* model) {
  const char* name = nullptr;
  uint64_t version = 0;
  Check(TRITONBACKEND_ModelName(model, &name));
  Check(TRITONBACKEND_ModelVersion(model, &version));
  return "model '" + std::string(name) + "' version " + std::to_string(version);
}

BackendSettings ReadSettings(TRITONBACKEND_Model* model) {
  BackendSettings settings;
  TRITONBACKEND_Backend* backend = nullptr;
  Check(TRITONBACKEND_ModelBackend(model, &backend));
  Check(TRITONBACKEND_ModelAutoCompleteConfig(model, &settings.auto_complete));
  const std::string size = Option(backend, "default-max-batch-size");
  if (!size.empty()) {
    settings.default_max_batch_size = Json::String(size).AsInt(-1);
    if (settings.default_max_batch_size < 0) Malformed("default-max-batch-size", size, "a number from 0 on");
  }
  const std::string drop = Option(backend, "drop-cancelled");
  if (!drop.empty() && drop != "true" && drop != "false") Malformed("drop-cancelled", drop, "true or false");
  settings.drop_cancelled = drop.empty() ? ServerCancelsSafely(model) : drop == "true";
  return settings;
}

std::string KernelsFolder(TRITONBACKEND_Backend* backend) { return Option(backend, "cpu-kernels"); }

}  // namespace recserve
