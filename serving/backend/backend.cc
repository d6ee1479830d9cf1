// The entry points that tritonserver looks up in this library.
#include <cstdlib>
#include <memory>
#include <string>

#include "cpu_kernels.h"
#include "model.h"
#include "nth_element.h"
#include "served_instance.h"
#include "server.h"
#include "status.h"
#include "triton_abi.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

using recserve::BackendError;
using recserve::Check;
using recserve::Model;
using recserve::ServedInstance;

// TensorFlow reads its environment when it is first used, which is after this.
void SetTensorFlowEnvironment() {
  // Without this the first session's intra-op thread count would hold for all models of the process.
  setenv("TF_OVERRIDE_GLOBAL_THREADPOOL", "1", /*overwrite=*/0);
  // Without this XLA's auto-clustering leaves the CPU out. It acts only on sessions that ask for auto-clustering.
  const char* given = std::getenv("TF_XLA_FLAGS");
  std::string flags = given != nullptr ? given : "";
  const bool is_file = !flags.empty() && flags[0] != '-';  // of flags: it is the user's to edit
  if (!is_file && flags.find("tf_xla_cpu_global_jit") == std::string::npos) {
    flags += std::string(flags.empty() ? "" : " ") + "--tf_xla_cpu_global_jit";
    setenv("TF_XLA_FLAGS", flags.c_str(), /*overwrite=*/1);
  }
}

Model* StateOf(TRITONBACKEND_Model* model) {
  void* state = nullptr;
  Check(TRITONBACKEND_ModelState(model, &state));
  return static_cast<Model*>(state);
}

Model* ModelOf(TRITONBACKEND_ModelInstance* instance) {
  TRITONBACKEND_Model* model = nullptr;
  Check(TRITONBACKEND_ModelInstanceModel(instance, &model));
  return StateOf(model);
}

ServedInstance* StateOf(TRITONBACKEND_ModelInstance* instance) {
  void* state = nullptr;
  Check(TRITONBACKEND_ModelInstanceState(instance, &state));
  return static_cast<ServedInstance*>(state);
}

}  // namespace

EXPORTED TRITONSERVER_Error* TRITONBACKEND_Initialize(TRITONBACKEND_Backend* backend) {
  return recserve::Guard([&] {
    uint32_t major = 0, minor = 0;
    Check(TRITONBACKEND_ApiVersion(&major, &minor));
    if (major != 1) {
      throw BackendError(
          TRITONSERVER_ERROR_UNSUPPORTED,
          "this tensorflow backend speaks version 1 of Triton's backend interface, the server speaks " +
              std::to_string(major));
    }
    SetTensorFlowEnvironment();
    recserve::RegisterNthElement();
    recserve::Log(TRITONSERVER_LOG_INFO, std::string("TensorFlow ") + TF_Version() + " backend for savedmodels");
    const std::string folder = recserve::KernelsFolder(backend);
    recserve::LoadCpuKernels(folder.empty() ? recserve::DefaultKernelsFolder() : folder);
  });
}

EXPORTED TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model* model) {
  return recserve::Guard([&] {
    const recserve::Json config = recserve::ReadConfig(model);
    auto state = std::make_unique<Model>(
        recserve::Label(model), recserve::VersionFolder(model), config, recserve::ReadSettings(model));
    if (state->config_json().Write() != config.Write()) recserve::WriteConfig(model, state->config_json());
    Check(TRITONBACKEND_ModelSetState(model, state.get()));
    state.release();  // TRITONBACKEND_ModelFinalize deletes it
  });
}

EXPORTED TRITONSERVER_Error* TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model* model) {
  return recserve::Guard([&] { delete StateOf(model); });
}

EXPORTED TRITONSERVER_Error* TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance* instance) {
  return recserve::Guard([&] {
    Model* model = ModelOf(instance);
    TRITONSERVER_InstanceGroupKind kind = TRITONSERVER_INSTANCEGROUPKIND_CPU;
    Check(TRITONBACKEND_ModelInstanceKind(instance, &kind));
    if (kind == TRITONSERVER_INSTANCEGROUPKIND_GPU) {
      throw BackendError(
          TRITONSERVER_ERROR_UNSUPPORTED,
          model->label() + ": this backend computes on the CPU; set instance_group kind KIND_CPU");
    }
    auto state = std::make_unique<ServedInstance>(model, instance);
    Check(TRITONBACKEND_ModelInstanceSetState(instance, state.get()));
    state.release();  // TRITONBACKEND_ModelInstanceFinalize deletes it
  });
}

EXPORTED TRITONSERVER_Error* TRITONBACKEND_ModelInstanceFinalize(TRITONBACKEND_ModelInstance* instance) {
  return recserve::Guard([&] { delete StateOf(instance); });
}

EXPORTED TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(
    TRITONBACKEND_ModelInstance* instance, TRITONBACKEND_Request** requests, const uint32_t count) {
  return recserve::Guard([&] { StateOf(instance)->Accept(requests, count); });
}
