#include "status.h"

#include <memory>

namespace recserve {

namespace {

TRITONSERVER_Error_Code TritonCode(TF_Code code) {
  switch (code) {
    case TF_INVALID_ARGUMENT:
    case TF_OUT_OF_RANGE:
      return TRITONSERVER_ERROR_INVALID_ARG;
    case TF_NOT_FOUND:
      return TRITONSERVER_ERROR_NOT_FOUND;
    case TF_UNIMPLEMENTED:
      return TRITONSERVER_ERROR_UNSUPPORTED;
    default:
      return TRITONSERVER_ERROR_INTERNAL;
  }
}

struct ErrorDeleter {
  void operator()(TRITONSERVER_Error* error) const { TRITONSERVER_ErrorDelete(error); }
};

}  // namespace

void Check(TRITONSERVER_Error* error) {
  if (error == nullptr) return;
  std::unique_ptr<TRITONSERVER_Error, ErrorDeleter> owned(error);
  throw BackendError(TRITONSERVER_ErrorCode(error), TRITONSERVER_ErrorMessage(error));
}

void LogIfFailed(TRITONSERVER_Error* error, const char* what) {
  if (error == nullptr) return;
  std::unique_ptr<TRITONSERVER_Error, ErrorDeleter> owned(error);
  Log(TRITONSERVER_LOG_ERROR, std::string(what) + ": " + TRITONSERVER_ErrorMessage(error));
}

void CheckTensorFlow(const TF_Status* status, const std::string& doing) {
  if (TF_GetCode(status) == TF_OK) return;
  throw BackendError(TritonCode(TF_GetCode(status)), doing + ": " + TF_Message(status));
}

void Log(TRITONSERVER_LogLevel level, const std::string& message) {
  // The file name shows in each log line: name the backend, not a path of the machine that compiled it.
  TRITONSERVER_Error* error = TRITONSERVER_LogMessage(level, "tensorflow_backend", 0, message.c_str());
  if (error != nullptr) TRITONSERVER_ErrorDelete(error);
}

}  // namespace recserve
