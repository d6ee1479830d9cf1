#include "model.h"

#include <cstring>
#include <filesystem>

#include "auto_complete.h"
#include "request_queue.h"
#include "status.h"
#include "string_tensor.h"

namespace recserve {

namespace {

std::string TensorsText(const std::vector<BoundTensor>& tensors) {
  std::string text;
  for (const BoundTensor& tensor : tensors) {
    if (!text.empty()) text += ", ";
    text += tensor.name + " " + tensor.dtype->name + " " + ShapeText(tensor.shape);
    if (tensor.optional) text += " optional";
    if (tensor.ragged) text += " ragged";
  }
  return text;
}

std::string Encoded(const Dtype& dtype, const TF_Tensor* tensor) {
  const uint64_t count = static_cast<uint64_t>(TF_TensorElementCount(tensor));
  if (dtype.tensorflow != TF_STRING) {
    return std::string(static_cast<const char*>(TF_TensorData(tensor)), TF_TensorByteSize(tensor));
  }
  std::string bytes(EncodedSize(tensor, 0, count), '\0');
  EncodeStrings(tensor, 0, count, bytes.data());
  return bytes;
}

}  // namespace

Model::Model(std::string label, const std::string& folder, const Json& config, const BackendSettings& settings)
    : label_(std::move(label)), settings_(settings), json_(config) {
  CheckSupported(json_);
  const Parameters parameters = ReadParameters(json_);
  path_ = folder + "/" + SavedModelFolder(json_);
  if (!std::filesystem::is_directory(path_)) {
    throw BackendError(TRITONSERVER_ERROR_NOT_FOUND, label_ + ": there is no SavedModel folder " + path_);
  }
  const SharedSession shared = AcquireSession(path_, parameters.session, parameters.max_session_share_count);
  const Signature& signature = ChooseSignature(shared.session->signatures(), parameters.signature);
  if (settings_.auto_complete) CompleteConfig(signature, settings_.default_max_batch_size, &json_);
  config_ = ReadModelConfig(json_);
  binding_ = Bind(config_, signature);
  signature_ = signature.name;
  for (const BoundTensor& input : binding_.inputs) defaults_.push_back(ReadDefault(input, signature));
  if (config_.queue_policy.IsBounded()) {
    const int64_t most_rows = config_.dynamic_batching ? config_.max_batch_size : 0;
    queue_ = std::make_unique<RequestQueue>(config_.queue_policy, most_rows, label_);
  }
  LogLoaded(shared);
  session_ = shared.session;
}

Model::~Model() = default;

std::shared_ptr<Session> Model::SessionForInstance() {
  if (config_.parameters.max_session_share_count == 0) return session_;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (session_ != nullptr) return std::move(session_);
  return AcquireSession(path_, config_.parameters.session, config_.parameters.max_session_share_count).session;
}

std::optional<DefaultValue> Model::ReadDefault(const BoundTensor& input, const Signature& signature) const {
  const auto found = signature.defaults.find(input.name);
  if (!input.optional || found == signature.defaults.end()) return std::nullopt;
  Owned<TF_Status> status(TF_NewStatus());
  Owned<TF_Buffer> proto(TF_NewBufferFromString(found->second.data(), found->second.size()));
  Tensor tensor(TF_AllocateTensor(TF_FLOAT, nullptr, 0, sizeof(float)));
  TF_TensorFromProto(proto.get(), tensor.get(), status.get());
  CheckTensorFlow(status.get(), "reading the default of input '" + input.name + "'");
  DefaultValue value{ShapeOf(tensor.get()), Encoded(*input.dtype, tensor.get())};
  const bool fits = TF_TensorType(tensor.get()) == input.dtype->tensorflow && (input.scalar ? value.shape.empty() : Matches(value.shape, input.shape)) &&
                    (!batches() || value.shape[0] == 1) && !input.ragged;
  if (fits) return value;
  throw BackendError(
      TRITONSERVER_ERROR_UNSUPPORTED,
      "input '" + input.name + "' is optional, but its default in the SavedModel has shape " + ShapeText(value.shape) +
          ", expected " + ShapeText(input.shape) + (batches() ? " with one row" : ""));
}

void Model::LogLoaded(const SharedSession& shared) const {
  const Parameters& parameters = config_.parameters;
  const std::string how = shared.is_new
                              ? "loaded " + path_ + " in " +
                                    std::to_string(static_cast<int64_t>(shared.session->load_ms())) + " ms" +
                                    (shared.session->uses_cpu_kernels() ? " with CPU kernels" : "")
                              : "shares the session that has loaded " + path_;
  const std::string sharing =
      parameters.max_session_share_count == 0
          ? "one session for all instances"
          : "at most " + std::to_string(parameters.max_session_share_count) + " instances per session";
  const std::string batch =
      batches() ? "max_batch_size " + std::to_string(config_.max_batch_size) : "requests run one by one";
  Log(TRITONSERVER_LOG_INFO, label_ + ": " + how + ", signature '" + signature_ + "', " + batch);
  Log(TRITONSERVER_LOG_INFO, label_ + ": inputs " + TensorsText(binding_.inputs));
  Log(TRITONSERVER_LOG_INFO, label_ + ": outputs " + TensorsText(binding_.outputs));
  Log(TRITONSERVER_LOG_INFO, label_ + ": " + parameters.session.Text() + ", " + sharing);
  if (queue_ != nullptr) Log(TRITONSERVER_LOG_INFO, label_ + ": " + config_.queue_policy.Text());
  if (!config_.buckets.empty()) {
    Log(TRITONSERVER_LOG_INFO, label_ + ": batches are padded to " + ShapeText(config_.buckets.sizes()));
  }
}

}  // namespace recserve
