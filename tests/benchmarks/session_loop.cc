// The ceiling of any server: one thread that calls TF_SessionRun on a SavedModel with the same inputs again and again.
//
// session_loop KERNELS SAVEDMODEL SECONDS OUTPUT_OPERATION:INDEX {OPERATION:INDEX:TYPE:DIM,DIM,…:FILE}…
// KERNELS is a library of operations, or "none". TYPE is TensorFlow's number of the dtype; FILE holds the tensor's bytes. Prints runs and seconds.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "tensorflow/c/c_api.h"

namespace {

constexpr double kWarmupSeconds = 0.5;
// config.proto: intra-op threads (field 2) and inter-op threads (field 5), 1 each.
constexpr unsigned char kOneThread[] = {0x10, 1, 0x28, 1};
// RunOptions: inter_op_thread_pool (field 3) -1, the caller's thread; as the backend runs its graphs.
constexpr unsigned char kInCaller[] = {0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01};

void Require(const TF_Status* status, const char* what) {
  if (TF_GetCode(status) == TF_OK) return;
  std::fprintf(stderr, "%s: %s\n", what, TF_Message(status));
  std::exit(1);
}

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

TF_Output Find(TF_Graph* graph, const std::string& operation, const std::string& index) {
  TF_Operation* found = TF_GraphOperationByName(graph, operation.c_str());
  if (found == nullptr) {
    std::fprintf(stderr, "the graph has no operation %s\n", operation.c_str());
    std::exit(1);
  }
  return {found, std::stoi(index)};
}

TF_Tensor* Read(const std::vector<std::string>& parts) {
  std::vector<int64_t> dims;
  for (const std::string& size : Split(parts[3], ',')) dims.push_back(std::stoll(size));
  std::ifstream file(parts[4], std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto type = static_cast<TF_DataType>(std::stoi(parts[2]));
  TF_Tensor* tensor = TF_AllocateTensor(type, dims.data(), static_cast<int>(dims.size()), bytes.size());
  std::memcpy(TF_TensorData(tensor), bytes.data(), bytes.size());
  return tensor;
}

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

int main(int count, char** arguments) {
  if (count < 6) {
    std::fprintf(stderr, "usage: session_loop KERNELS SAVEDMODEL SECONDS OUTPUT:INDEX INPUT:INDEX:TYPE:DIMS:FILE…\n");
    return 2;
  }
  TF_Status* status = TF_NewStatus();
  if (std::strcmp(arguments[1], "none") != 0) TF_LoadLibrary(arguments[1], status);
  Require(status, arguments[1]);
  TF_SessionOptions* options = TF_NewSessionOptions();
  TF_SetConfig(options, kOneThread, sizeof(kOneThread), status);
  Require(status, "session options");
  TF_Graph* graph = TF_NewGraph();
  const char* tag = "serve";
  TF_Session* session = TF_LoadSessionFromSavedModel(options, nullptr, arguments[2], &tag, 1, graph, nullptr, status);
  Require(status, arguments[2]);
  const std::vector<std::string> out = Split(arguments[4], ':');
  const TF_Output output = Find(graph, out.at(0), out.at(1));
  std::vector<TF_Output> inputs;
  std::vector<TF_Tensor*> tensors;
  for (int i = 5; i < count; ++i) {
    const std::vector<std::string> parts = Split(arguments[i], ':');
    inputs.push_back(Find(graph, parts.at(0), parts.at(1)));
    tensors.push_back(Read(parts));
  }
  TF_Buffer* run_options = TF_NewBufferFromString(kInCaller, sizeof(kInCaller));
  const auto run = [&] {
    TF_Tensor* result = nullptr;
    TF_SessionRun(session, run_options, inputs.data(), tensors.data(), static_cast<int>(inputs.size()), &output, &result, 1,
                  nullptr, 0, nullptr, status);
    Require(status, "run");
    TF_DeleteTensor(result);
  };
  const double seconds = std::atof(arguments[3]);
  for (const double end = Now() + kWarmupSeconds; Now() < end;) run();
  long runs = 0;
  const double start = Now();
  for (; Now() < start + seconds; ++runs) run();
  std::printf("%ld %.6f\n", runs, Now() - start);
  return 0;
}
