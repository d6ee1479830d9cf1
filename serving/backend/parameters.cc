#include "parameters.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "status.h"

namespace recserve {

namespace {

[[noreturn]] void Malformed(const std::string& name, const std::string& text, const std::string& expected) {
  throw BackendError(
      TRITONSERVER_ERROR_INVALID_ARG,
      "config.pbtxt: parameter " + name + " is '" + text + "', expected " + expected);
}

// -1 if it is not a whole number from 0 on.
int64_t ParseCount(const std::string& text) {
  const bool digits = !text.empty() && text.size() < 18 && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isdigit(c);
  });
  return digits ? std::strtoll(text.c_str(), nullptr, 10) : -1;
}

int64_t ThreadCount(const std::string& name, const std::string& text) {
  constexpr int64_t kMost = 4096;
  const int64_t count = ParseCount(text);
  if (count < 0 || count > kMost) {
    Malformed(name, text, "a number of threads from 0 (TensorFlow decides) to " + std::to_string(kMost));
  }
  return count;
}

int64_t Bound(const std::string& name, const std::string& text, const std::string& unit) {
  const int64_t bound = ParseCount(text);
  if (bound < 0) Malformed(name, text, "a number of " + unit + " from 0 (no bound) on");
  return bound;
}

bool Switch(const std::string& name, const std::string& text) {
  std::string lower = text;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  if (lower == "true" || lower == "on" || lower == "1" || lower == "yes") return true;
  if (lower == "false" || lower == "off" || lower == "0" || lower == "no") return false;
  Malformed(name, text, "true or false");
}

std::string NotEmpty(const std::string& name, const std::string& text) {
  if (text.empty()) Malformed(name, text, "a name");
  return text;
}

std::string Trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(' ');
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(' ') - first + 1);
}

std::vector<int64_t> Buckets(const std::string& name, const std::string& text) {
  std::vector<int64_t> sizes;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find(',', start), text.size());
    const int64_t size = ParseCount(Trimmed(text.substr(start, end - start)));
    if (size < 1 || (!sizes.empty() && size <= sizes.back())) {
      Malformed(name, text, "ascending batch sizes from 1 on, as in '1,16,64'");
    }
    sizes.push_back(size);
    start = end + 1;
  }
  return sizes;
}

// A misspelt name would otherwise be a setting that silently does nothing. Names of other prefixes are the user's own.
void RejectUnknown(const std::string& name, const std::string& text) {
  for (const char* prefix : {"TF_", "BATCH_", "WARM_", "MAX_", "QUEUE_", "CPU_"}) {
    if (name.rfind(prefix, 0) != 0) continue;
    Malformed(
        name, text,
        "no such parameter; known are TF_NUM_INTRA_THREADS, TF_NUM_INTER_THREADS, TF_USE_PER_SESSION_THREADS, "
        "TF_SIGNATURE_DEF, TF_GRAPH_TAG, MAX_SESSION_SHARE_COUNT, BATCH_BUCKETS, WARM_BUCKETS, MAX_QUEUE_SIZE, "
        "QUEUE_TIMEOUT_US and CPU_KERNELS");
  }
}

void ReadParameter(const std::string& name, const std::string& text, Parameters* parameters) {
  if (name == "TF_NUM_INTRA_THREADS") {
    parameters->session.intra_op_threads = ThreadCount(name, text);
  } else if (name == "TF_NUM_INTER_THREADS") {
    parameters->session.inter_op_threads = ThreadCount(name, text);
  } else if (name == "TF_USE_PER_SESSION_THREADS") {
    parameters->session.per_session_threads = Switch(name, text);
  } else if (name == "TF_SIGNATURE_DEF") {
    parameters->signature = NotEmpty(name, text);
  } else if (name == "TF_GRAPH_TAG") {
    parameters->session.graph_tag = NotEmpty(name, text);
  } else if (name == "MAX_SESSION_SHARE_COUNT") {
    parameters->max_session_share_count = ParseCount(text);
    if (parameters->max_session_share_count < 1) Malformed(name, text, "a number of instances from 1 on");
  } else if (name == "BATCH_BUCKETS") {
    parameters->batch_buckets = Buckets(name, text);
  } else if (name == "WARM_BUCKETS") {
    parameters->warm_buckets = Switch(name, text);
  } else if (name == "MAX_QUEUE_SIZE") {
    parameters->queue.max_size = Bound(name, text, "requests");
  } else if (name == "QUEUE_TIMEOUT_US") {
    parameters->queue.timeout_us = Bound(name, text, "microseconds");
  } else if (name == "CPU_KERNELS") {
    parameters->session.cpu_kernels = Switch(name, text);
  } else if (name == "TF_INIT_OPS_FILE") {
    Log(TRITONSERVER_LOG_WARN, "config.pbtxt: TF_INIT_OPS_FILE is ignored: a SavedModel initialises itself");
  } else {
    RejectUnknown(name, text);
  }
}

int64_t GraphLevel(const Json& config) {
  const Json* optimization = config.Find("optimization");
  const Json* graph = optimization != nullptr ? optimization->Find("graph") : nullptr;
  const Json* level = graph != nullptr ? graph->Find("level") : nullptr;
  const int64_t value = level != nullptr ? level->AsInt() : 0;
  if (value < -1 || value > 2) {
    throw BackendError(
        TRITONSERVER_ERROR_INVALID_ARG,
        "config.pbtxt: optimization.graph.level is " + std::to_string(value) +
            ", expected -1 (XLA off), 0 (TensorFlow's default), 1 or 2 (XLA on)");
  }
  return value;
}

}  // namespace

std::string SessionOptions::Text() const {
  const auto count = [](int64_t value) { return value == 0 ? "automatic" : std::to_string(value); };
  std::string text = "threads intra-op " + count(intra_op_threads) + ", inter-op " + count(inter_op_threads);
  if (RunsInCaller()) {
    text += " (each instance runs in its own thread)";
  } else if (per_session_threads) {
    text += " (own pool)";
  } else {
    text += " (pool of the process, whose size the first model loaded decides)";
  }
  return text + ", tag '" + graph_tag + "', graph level " + std::to_string(graph_level) +
         (cpu_kernels ? "" : ", CPU kernels off");
}

Parameters ReadParameters(const Json& config) {
  Parameters parameters;
  if (const Json* listed = config.Find("parameters")) {
    for (const auto& [name, value] : listed->members()) {
      const Json* text = value.Find("string_value");
      ReadParameter(name, text != nullptr ? text->AsString() : "", &parameters);
    }
  }
  if (parameters.warm_buckets && parameters.batch_buckets.empty()) {
    Malformed("WARM_BUCKETS", "true", "BATCH_BUCKETS beside it: they are what is warmed");
  }
  parameters.session.graph_level = GraphLevel(config);
  return parameters;
}

}  // namespace recserve
