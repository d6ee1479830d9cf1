// The entry points that tritonserver looks up in this library.
#include <cstdlib>
#include <string>

#include "execute.h"
#include "json.h"
#include "model.h"
#include "status.h"
#include "triton_abi.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

using recserve::BackendError;
using recserve::Check;
using recserve::Model;

recserve::Json ReadConfigJson(TRITONBACKEND_Model* model) {
  TRITONSERVER_Message* message = nullptr;
  Check(TRITONBACKEND_ModelConfig(model, 1, &message));
  const char* text = nullptr;
  size_t size = 0;
  TRITONSERVER_Error* error = TRITONSERVER_MessageSerializeToJson(message, &text, &size);
  const std::string copy = error == nullptr ? std::string(text, size) : std::string();
  recserve::LogIfFailed(TRITONSERVER_MessageDelete(message), "freeing the model configuration");
  Check(error);
  return recserve::Json::Parse(copy);
}

std::string VersionFolder(TRITONBACKEND_Model* model, uint64_t version) {
  TRITONBACKEND_ArtifactType type = TRITONBACKEND_ARTIFACT_FILESYSTEM;
  const char* location = nullptr;
  Check(TRITONBACKEND_ModelRepository(model, &type, &location));
  if (type != TRITONBACKEND_ARTIFACT_FILESYSTEM) {
    throw BackendError(TRITONSERVER_ERROR_UNSUPPORTED, "the model repository is not a folder");
  }
  return std::string(location) + "/" + std::to_string(version);
}

Model* LoadModel(TRITONBACKEND_Model* model) {
  const char* name = nullptr;
  uint64_t version = 0;
  Check(TRITONBACKEND_ModelName(model, &name));
  Check(TRITONBACKEND_ModelVersion(model, &version));
  const std::string label = "model '" + std::string(name) + "' version " + std::to_string(version);
  return new Model(label, VersionFolder(model, version), recserve::ReadModelConfig(ReadConfigJson(model)));
}

Model* StateOf(TRITONBACKEND_Model* model) {
  void* state = nullptr;
  Check(TRITONBACKEND_ModelState(model, &state));
  return static_cast<Model*>(state);
}

Model* StateOf(TRITONBACKEND_ModelInstance* instance) {
  TRITONBACKEND_Model* model = nullptr;
  Check(TRITONBACKEND_ModelInstanceModel(instance, &model));
  return StateOf(model);
}

}  // namespace

EXPORTED TRITONSERVER_Error* TRITONBACKEND_Initialize(TRITONBACKEND_Backend*) {
  return recserve::Guard([] {
    uint32_t major = 0, minor = 0;
    Check(TRITONBACKEND_ApiVersion(&major, &minor));
    if (major != 1) {
      throw BackendError(
          TRITONSERVER_ERROR_UNSUPPORTED,
          "this tensorflow backend speaks version 1 of Triton's backend interface, the server speaks " +
              std::to_string(major));
    }
    // Without this the first session's intra-op thread count would hold for all models of the process.
    setenv("TF_OVERRIDE_GLOBAL_THREADPOOL", "1", /*overwrite=*/0);
    recserve::Log(TRITONSERVER_LOG_INFO, std::string("TensorFlow ") + TF_Version() + " backend for savedmodels");
  });
}

EXPORTED TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model* model) {
  return recserve::Guard([&] { Check(TRITONBACKEND_ModelSetState(model, LoadModel(model))); });
}

EXPORTED TRITONSERVER_Error* TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model* model) {
  return recserve::Guard([&] { delete StateOf(model); });
}

EXPORTED TRITONSERVER_Error* TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance* instance) {
  return recserve::Guard([&] {
    TRITONSERVER_InstanceGroupKind kind = TRITONSERVER_INSTANCEGROUPKIND_CPU;
    Check(TRITONBACKEND_ModelInstanceKind(instance, &kind));
    if (kind == TRITONSERVER_INSTANCEGROUPKIND_GPU) {
      throw BackendError(
          TRITONSERVER_ERROR_UNSUPPORTED,
          StateOf(instance)->label() + ": this backend computes on the CPU; set instance_group kind KIND_CPU");
    }
  });
}

EXPORTED TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(
    TRITONBACKEND_ModelInstance* instance, TRITONBACKEND_Request** requests, const uint32_t count) {
  return recserve::Guard([&] { recserve::Execute(*StateOf(instance), instance, requests, count); });
}
