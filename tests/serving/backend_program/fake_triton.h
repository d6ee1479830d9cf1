// A stand-in for tritonserver, for this program alone: it gives the backend models, instances and requests, and keeps
// what the backend does with them. Breaches of the contract (a request released twice, a response after the release)
// end the program.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "triton_abi.h"

struct TRITONSERVER_Error {
  TRITONSERVER_Error_Code code;
  std::string message;
};

struct TRITONSERVER_Message {
  std::string json;
};

struct TRITONSERVER_Server {};

struct TRITONBACKEND_Backend {
  TRITONSERVER_Message config;
};

struct TRITONBACKEND_Model {
  std::string name;
  std::string folder;  // with a folder 1 in it
  std::string config;  // JSON
  bool auto_complete = true;
  TRITONBACKEND_Backend* backend = nullptr;
  TRITONSERVER_Server server;
  void* state = nullptr;
};

struct TRITONBACKEND_ModelInstance {
  TRITONBACKEND_Model* model = nullptr;
  void* state = nullptr;
  std::mutex mutex;
  int64_t succeeded = 0, failed = 0, batch_rows = 0, executions = 0;
};

struct TRITONBACKEND_Input {
  std::string name;
  TRITONSERVER_DataType dtype = TRITONSERVER_TYPE_INVALID;
  std::vector<int64_t> shape;
  std::vector<std::string> buffers;      // freed with the request, so that a late reader is caught
  const void* aligned = nullptr;         // instead of buffers: one that the test owns
  uint64_t aligned_bytes = 0;
};

struct TRITONBACKEND_Output {
  std::string name;
  TRITONSERVER_DataType dtype = TRITONSERVER_TYPE_INVALID;
  std::vector<int64_t> shape;
  std::string data;
};

struct TRITONBACKEND_Request {
  std::vector<std::unique_ptr<TRITONBACKEND_Input>> inputs;
  std::vector<std::string> wanted;
  bool cancelled = false;

  int responses = 0, releases = 0;
  std::string error;  // of the response; "" for success
  TRITONSERVER_Error_Code error_code = TRITONSERVER_ERROR_UNKNOWN;
  std::map<std::string, TRITONBACKEND_Output> outputs;

  void AddInput(
      const std::string& name, TRITONSERVER_DataType dtype, const std::vector<int64_t>& shape, const std::string& data,
      size_t parts = 1);
};

struct TRITONBACKEND_Response {
  TRITONBACKEND_Request* request = nullptr;
  std::map<std::string, TRITONBACKEND_Output> outputs;
};

// Whether the backend has given it back; what it did with the request can be looked at then.
bool IsReleased(const TRITONBACKEND_Request& request);

extern "C" {
TRITONSERVER_Error* TRITONBACKEND_Initialize(TRITONBACKEND_Backend*);
TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model*);
TRITONSERVER_Error* TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model*);
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance*);
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceFinalize(TRITONBACKEND_ModelInstance*);
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(
    TRITONBACKEND_ModelInstance*, TRITONBACKEND_Request**, uint32_t);
}
