#include "session.h"

#include <chrono>
#include <cstdlib>

#include "input_retention.h"
#include "protobuf_wire.h"
#include "status.h"

namespace recserve {

namespace {

// Field numbers of TensorFlow's config.proto.
constexpr uint32_t kConfigDeviceCount = 1, kConfigIntraOpThreads = 2, kConfigInterOpThreads = 5;
constexpr uint32_t kConfigAllowSoftPlacement = 7, kConfigPerSessionThreads = 9, kConfigGraphOptions = 10;
constexpr uint32_t kGraphOptionsOptimizer = 3, kOptimizerGlobalJit = 5;
constexpr uint32_t kMapKey = 1, kMapValue = 2;
constexpr uint32_t kRunOptionsInterOpThreadPool = 3;
constexpr size_t kMostFetchSets = 8;

std::string SessionConfig(const SessionOptions& options) {
  WireWriter no_gpu;  // instances are KIND_CPU: never take memory on a GPU that happens to be there
  no_gpu.Bytes(kMapKey, "GPU");
  no_gpu.Integer(kMapValue, 0);
  WireWriter optimizer, graph;
  optimizer.Integer(kOptimizerGlobalJit, options.graph_level);
  graph.Bytes(kGraphOptionsOptimizer, optimizer.message());
  WireWriter config;
  config.Bytes(kConfigDeviceCount, no_gpu.message());
  config.Integer(kConfigIntraOpThreads, options.intra_op_threads);
  config.Integer(kConfigInterOpThreads, options.inter_op_threads);
  config.Integer(kConfigAllowSoftPlacement, 1);
  config.Integer(kConfigPerSessionThreads, options.per_session_threads ? 1 : 0);
  if (options.graph_level != 0) config.Bytes(kConfigGraphOptions, graph.message());
  return config.message();
}

// With one inter-op thread TensorFlow would hand every run of all instances to the same single pool thread.
// Pool number -1 means the caller's thread: each instance runs its own graph, without a thread switch.
std::string RunConfig(const SessionOptions& options) {
  WireWriter run;
  if (options.RunsInCaller()) run.Integer(kRunOptionsInterOpThreadPool, -1);
  return run.message();
}

}  // namespace

void TensorFlowDeleter::operator()(TF_Session* session) const {
  Owned<TF_Status> status(TF_NewStatus());
  TF_CloseSession(session, status.get());
  TF_DeleteSession(session, status.get());
}

Session::Session(const std::string& path, const SessionOptions& options, bool uses_cpu_kernels)
    : graph_(TF_NewGraph()), uses_cpu_kernels_(uses_cpu_kernels) {
  const auto start = std::chrono::steady_clock::now();
  Owned<TF_Status> status(TF_NewStatus());
  Owned<TF_SessionOptions> session_options(TF_NewSessionOptions());
  const std::string config = SessionConfig(options), run_config = RunConfig(options);
  TF_SetConfig(session_options.get(), config.data(), config.size(), status.get());
  CheckTensorFlow(status.get(), "setting the session's options");
  run_options_.reset(TF_NewBufferFromString(run_config.data(), run_config.size()));
  const char* tag = options.graph_tag.c_str();
  Owned<TF_Buffer> meta_graph(TF_NewBuffer());
  session_.reset(TF_LoadSessionFromSavedModel(
      session_options.get(), run_options_.get(), path.c_str(), &tag, 1, graph_.get(), meta_graph.get(),
      status.get()));
  CheckTensorFlow(status.get(), "loading the SavedModel " + path);
  const std::string_view bytes(static_cast<const char*>(meta_graph->data), meta_graph->length);
  signatures_ = ReadSignatures(bytes);
  const GraphScan scan(bytes);
  for (const auto& [name, signature] : signatures_) may_borrow_[name] = !scan.MayKeepInputs(signature);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  load_ms_ = took.count();
}

TF_Output Session::Find(const std::string& tensor_name) const {
  const size_t colon = tensor_name.rfind(':');
  const std::string operation = tensor_name.substr(0, colon);
  const int index = colon == std::string::npos ? 0 : std::atoi(tensor_name.c_str() + colon + 1);
  TF_Output node{TF_GraphOperationByName(graph_.get(), operation.c_str()), index};
  const bool known = node.oper != nullptr && index >= 0 && index < TF_OperationNumOutputs(node.oper);
  return known ? node : TF_Output{nullptr, 0};
}

std::vector<Tensor> Session::Run(
    const std::vector<TF_Output>& feeds, const std::vector<TF_Tensor*>& values,
    const std::vector<TF_Output>& fetches) {
  std::vector<TF_Tensor*> results(fetches.size(), nullptr);
  std::vector<Tensor> outputs;
  outputs.reserve(results.size());  // nothing may throw between the run and taking ownership
  Owned<TF_Status> status(TF_NewStatus());
  TF_SessionRun(
      session_.get(), run_options_.get(), feeds.data(), values.data(), static_cast<int>(values.size()),
      fetches.data(), results.data(), static_cast<int>(results.size()), nullptr, 0, nullptr, status.get());
  for (TF_Tensor* result : results) outputs.emplace_back(result);
  CheckTensorFlow(status.get(), "the model failed on this request");
  return outputs;
}

bool Session::MayFetchOnly(const std::string& signature, const std::vector<bool>& wanted) {
  const std::lock_guard<std::mutex> lock(mutex_);
  auto& sets = fetched_[signature];
  if (sets.count(wanted) > 0) return true;
  return sets.size() < kMostFetchSets && sets.insert(wanted).second;
}

bool Session::may_borrow_inputs(const std::string& signature) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return may_borrow_[signature];
}

void Session::ForbidBorrowing() {
  const std::lock_guard<std::mutex> lock(mutex_);
  may_borrow_.clear();
}

void Session::Once(const std::string& name, const std::function<void()>& function) {
  const std::lock_guard<std::mutex> lock(once_mutex_);
  if (done_.count(name) > 0) return;
  function();
  done_.insert(name);
}

}  // namespace recserve
