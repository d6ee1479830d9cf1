// One version of a model: its configuration, bound to a signature of its SavedModel.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "binding.h"
#include "json.h"
#include "model_config.h"
#include "session_pool.h"

namespace recserve {

class RequestQueue;

// What the server's command line says about this backend.
struct BackendSettings {
  bool auto_complete = false;
  int64_t default_max_batch_size = 4;
  bool drop_cancelled = false;
};

// What the graph gets for an input that a request leaves out.
struct DefaultValue {
  std::vector<int64_t> shape;
  std::string bytes;  // as a request would send it
};

class Model {
 public:
  // Loads the SavedModel in the version's folder. Throws BackendError if it cannot be loaded or does not fit.
  // label: "model 'sim' version 3", leads log lines and errors.
  Model(std::string label, const std::string& folder, const Json& config, const BackendSettings& settings);
  ~Model();

  const std::string& label() const { return label_; }
  const BackendSettings& settings() const { return settings_; }
  // The configuration, completed if the settings ask for it.
  const Json& config_json() const { return json_; }
  const ModelConfig& config() const { return config_; }
  bool batches() const { return config_.max_batch_size > 0; }
  const std::string& signature() const { return signature_; }
  const std::vector<BoundTensor>& inputs() const { return binding_.inputs; }
  const std::vector<BoundTensor>& outputs() const { return binding_.outputs; }
  const std::vector<BoundTensor>& batch_inputs() const { return binding_.batch_inputs; }
  // Per input: its default in the signature, if it is optional and has one. With one row where the model batches.
  const std::optional<DefaultValue>& default_of(size_t input) const { return defaults_[input]; }

  // Where requests wait for an instance; null unless config.pbtxt bounds that.
  RequestQueue* queue() const { return queue_.get(); }

  // A session for one more instance: shared, as far as MAX_SESSION_SHARE_COUNT lets it. Without that it is the one that is
  // there: the version's files may be gone by now, taken back by who published them, and Triton 2.51 does not survive an
  // instance that fails.
  std::shared_ptr<Session> SessionForInstance();

 private:
  std::optional<DefaultValue> ReadDefault(const BoundTensor& input, const Signature& signature) const;
  void LogLoaded(const SharedSession& shared) const;

  std::string label_;
  BackendSettings settings_;
  Json json_;
  std::string path_;
  ModelConfig config_;
  std::string signature_;
  Binding binding_;
  std::vector<std::optional<DefaultValue>> defaults_;
  std::unique_ptr<RequestQueue> queue_;
  std::mutex mutex_;
  std::shared_ptr<Session> session_;  // the one that the signature was read from; with a limit the first instance takes it
};

}  // namespace recserve
