#include "model.h"

#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "protobuf_wire.h"
#include "status.h"

namespace recserve {

namespace {

// Field numbers of TensorFlow's config.proto.
constexpr uint32_t kConfigDeviceCount = 1, kConfigIntraOpThreads = 2, kConfigInterOpThreads = 5;
constexpr uint32_t kConfigAllowSoftPlacement = 7, kConfigPerSessionThreads = 9;
constexpr uint32_t kMapKey = 1, kMapValue = 2;
constexpr uint32_t kRunOptionsInterOpThreadPool = 3;

std::string SessionConfig(const SessionSettings& settings) {
  WireWriter no_gpu;  // instances are KIND_CPU: never take memory on a GPU that happens to be there
  no_gpu.Bytes(kMapKey, "GPU");
  no_gpu.Integer(kMapValue, 0);
  WireWriter config;
  config.Bytes(kConfigDeviceCount, no_gpu.message());
  config.Integer(kConfigIntraOpThreads, settings.intra_op_threads);
  config.Integer(kConfigInterOpThreads, settings.inter_op_threads);
  config.Integer(kConfigAllowSoftPlacement, 1);
  config.Integer(kConfigPerSessionThreads, settings.per_session_threads ? 1 : 0);
  return config.message();
}

bool RunsInCaller(const SessionSettings& settings) { return settings.inter_op_threads == 1; }

// With one inter-op thread TensorFlow would hand every run of all instances to the same single pool thread.
// Pool number -1 means the caller's thread: each instance runs its own graph, without a thread switch.
std::string RunConfig(const SessionSettings& settings) {
  WireWriter options;
  if (RunsInCaller(settings)) options.Integer(kRunOptionsInterOpThreadPool, -1);
  return options.message();
}

Owned<TF_Session> LoadSession(
    const std::string& path, const ModelConfig& config, const TF_Buffer* run_options, TF_Graph* graph,
    TF_Buffer* meta_graph) {
  Owned<TF_Status> status(TF_NewStatus());
  Owned<TF_SessionOptions> options(TF_NewSessionOptions());
  const std::string session_config = SessionConfig(config.session);
  TF_SetConfig(options.get(), session_config.data(), session_config.size(), status.get());
  CheckTensorFlow(status.get(), "setting the session's options");
  const char* tag = config.session.graph_tag.c_str();
  Owned<TF_Session> session(TF_LoadSessionFromSavedModel(
      options.get(), run_options, path.c_str(), &tag, 1, graph, meta_graph, status.get()));
  CheckTensorFlow(status.get(), "loading the SavedModel " + path);
  return session;
}

// "serving_default_user_id:0" -> operation and output number
TF_Output FindNode(TF_Graph* graph, const BoundTensor& tensor) {
  const size_t colon = tensor.tensor_name.rfind(':');
  const std::string operation = tensor.tensor_name.substr(0, colon);
  const int index = colon == std::string::npos ? 0 : std::atoi(tensor.tensor_name.c_str() + colon + 1);
  TF_Output node{TF_GraphOperationByName(graph, operation.c_str()), index};
  if (node.oper == nullptr || index < 0 || index >= TF_OperationNumOutputs(node.oper)) {
    throw BackendError(
        TRITONSERVER_ERROR_INVALID_ARG, "the SavedModel is damaged: its graph has no tensor '" + tensor.tensor_name +
                                            "', which its signature names for '" + tensor.name + "'");
  }
  return node;
}

std::string TensorsText(const std::vector<BoundTensor>& tensors) {
  std::string text;
  for (const BoundTensor& tensor : tensors) {
    if (!text.empty()) text += ", ";
    text += tensor.name + " " + tensor.dtype->name + " " + ShapeText(tensor.shape);
  }
  return text;
}

std::string ThreadsText(const SessionSettings& settings) {
  const auto count = [](int64_t value) { return value == 0 ? "automatic" : std::to_string(value); };
  std::string text = "intra-op " + count(settings.intra_op_threads) + ", inter-op " + count(settings.inter_op_threads);
  if (RunsInCaller(settings)) return text + " (each instance runs in its own thread)";
  if (settings.per_session_threads) return text + " (own pool)";
  return text + " (pool of the process, whose size the first model loaded decides)";
}

}  // namespace

void TensorFlowDeleter::operator()(TF_Session* session) const {
  Owned<TF_Status> status(TF_NewStatus());
  TF_CloseSession(session, status.get());
  TF_DeleteSession(session, status.get());
}

Model::Model(std::string label, const std::string& folder, ModelConfig config)
    : label_(std::move(label)), config_(std::move(config)), graph_(TF_NewGraph()) {
  const auto start = std::chrono::steady_clock::now();
  const std::string path = folder + "/" + config_.saved_model_folder;
  if (!std::filesystem::is_directory(path)) {
    throw BackendError(TRITONSERVER_ERROR_NOT_FOUND, label_ + ": there is no SavedModel folder " + path);
  }
  const std::string run_config = RunConfig(config_.session);
  run_options_.reset(TF_NewBufferFromString(run_config.data(), run_config.size()));
  Owned<TF_Buffer> meta_graph(TF_NewBuffer());
  session_ = LoadSession(path, config_, run_options_.get(), graph_.get(), meta_graph.get());
  const std::string_view bytes(static_cast<const char*>(meta_graph->data), meta_graph->length);
  binding_ = Bind(config_, ReadSignature(bytes, config_.session.signature));
  for (const BoundTensor& tensor : binding_.inputs) input_nodes_.push_back(FindNode(graph_.get(), tensor));
  for (const BoundTensor& tensor : binding_.outputs) output_nodes_.push_back(FindNode(graph_.get(), tensor));
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  LogLoaded(path, took.count());
}

std::vector<Tensor> Model::Run(const std::vector<Tensor>& inputs) const {
  std::vector<TF_Tensor*> values;
  for (const Tensor& input : inputs) values.push_back(input.get());
  std::vector<TF_Tensor*> results(output_nodes_.size(), nullptr);
  std::vector<Tensor> outputs;
  outputs.reserve(results.size());  // nothing may throw between the run and taking ownership
  Owned<TF_Status> status(TF_NewStatus());
  TF_SessionRun(
      session_.get(), run_options_.get(), input_nodes_.data(), values.data(), static_cast<int>(values.size()),
      output_nodes_.data(), results.data(), static_cast<int>(results.size()), nullptr, 0, nullptr, status.get());
  for (TF_Tensor* result : results) outputs.emplace_back(result);
  CheckTensorFlow(status.get(), "the model failed on this request");
  return outputs;
}

void Model::LogLoaded(const std::string& path, double load_ms) const {
  const SessionSettings& session = config_.session;
  Log(TRITONSERVER_LOG_INFO, label_ + ": loaded " + path + ", signature '" + session.signature + "', tag '" +
                                 session.graph_tag + "', in " + std::to_string(static_cast<int64_t>(load_ms)) + " ms");
  Log(TRITONSERVER_LOG_INFO, label_ + ": inputs " + TensorsText(binding_.inputs));
  Log(TRITONSERVER_LOG_INFO, label_ + ": outputs " + TensorsText(binding_.outputs));
  Log(TRITONSERVER_LOG_INFO, label_ + ": threads " + ThreadsText(session));
}

}  // namespace recserve
