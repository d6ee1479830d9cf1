// Errors as C++ exceptions inside the backend, as TRITONSERVER_Error* at its edges; and the log.
#pragma once

#include <stdexcept>
#include <string>

#include "tensorflow/c/tf_status.h"
#include "triton_abi.h"

namespace recserve {

class BackendError : public std::runtime_error {
 public:
  BackendError(TRITONSERVER_Error_Code code, const std::string& message) : std::runtime_error(message), code_(code) {}
  TRITONSERVER_Error_Code code() const { return code_; }

 private:
  TRITONSERVER_Error_Code code_;
};

// Turns a failed Triton call into a BackendError of the same code and frees the original.
void Check(TRITONSERVER_Error* error);

// For calls whose failure can only be logged, because no one is left to tell.
void LogIfFailed(TRITONSERVER_Error* error, const char* what);

// Throws if a TensorFlow call failed. What the caller was doing leads the message.
void CheckTensorFlow(const TF_Status* status, const std::string& doing);

void Log(TRITONSERVER_LogLevel level, const std::string& message);

// Runs an entry point: any exception becomes the error that Triton expects.
template <typename Function>
TRITONSERVER_Error* Guard(Function&& function) noexcept {
  try {
    function();
    return nullptr;
  } catch (const BackendError& error) {
    return TRITONSERVER_ErrorNew(error.code(), error.what());
  } catch (const std::exception& error) {
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, error.what());
  } catch (...) {
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "an exception of unknown type");
  }
}

}  // namespace recserve
