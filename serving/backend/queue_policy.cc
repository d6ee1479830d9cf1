#include "queue_policy.h"

#include "status.h"

namespace recserve {

namespace {

int64_t Number(const Json& policy, const char* key) {
  const Json* value = policy.Find(key);
  return value != nullptr ? value->AsInt() : 0;
}

// A rule that is none of this backend's; "" if there is none.
std::string RuleOfTriton(const Json& batching) {
  const Json* levels = batching.Find("priority_levels");
  if (levels != nullptr && levels->AsInt() > 0) return "priority_levels";
  const Json* policy = batching.Find("default_queue_policy");
  if (policy == nullptr) return "";
  const Json* overriding = policy->Find("allow_timeout_override");
  if (overriding != nullptr && overriding->AsBool()) return "allow_timeout_override";
  const Json* action = policy->Find("timeout_action");
  if (action != nullptr && action->AsString() == "DELAY") return "timeout_action DELAY";
  return "";
}

QueuePolicy DefaultPolicy(const Json& batching) {
  QueuePolicy policy;
  if (const Json* json = batching.Find("default_queue_policy")) {
    policy.max_size = Number(*json, "max_queue_size");
    policy.timeout_us = Number(*json, "default_timeout_microseconds");
  }
  return policy;
}

}  // namespace

std::string QueuePolicy::Text() const {
  std::string text = max_size > 0 ? "at most " + std::to_string(max_size) + " requests wait" : "requests wait";
  if (timeout_us > 0) text += ", each at most " + std::to_string(timeout_us) + " us";
  return text;
}

QueuePolicy ReadQueuePolicy(const Json& config, const QueuePolicy& parameters) {
  const Json* batching = config.Find("dynamic_batching");
  if (batching == nullptr) return parameters;
  const std::string rule = RuleOfTriton(*batching);
  if (parameters.IsBounded() && !rule.empty()) {
    throw BackendError(
        TRITONSERVER_ERROR_INVALID_ARG,
        "config.pbtxt: MAX_QUEUE_SIZE and QUEUE_TIMEOUT_US would leave " + rule + " without effect; set one or the other");
  }
  if (parameters.IsBounded()) return parameters;
  const QueuePolicy policy = DefaultPolicy(*batching);
  if (!policy.IsBounded() || rule.empty()) return policy;
  Log(TRITONSERVER_LOG_WARN, "config.pbtxt: the queue's bounds are left to Triton because of " + rule +
                                 "; its batcher may starve while its queue is full");
  return {};
}

}  // namespace recserve
