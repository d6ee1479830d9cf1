#include "queue_policy.h"

#include "status.h"

namespace recserve {

namespace {

int64_t Number(const Json& policy, const char* key) {
  const Json* value = policy.Find(key);
  return value != nullptr ? value->AsInt() : 0;
}

// What keeps the policy from being this backend's; "" if nothing does.
std::string OnlyTritonCan(const Json& batching, const Json& policy) {
  const Json* levels = batching.Find("priority_levels");
  if (levels != nullptr && levels->AsInt() > 0) return "priority_levels";
  const Json* overriding = policy.Find("allow_timeout_override");
  if (overriding != nullptr && overriding->AsBool()) return "allow_timeout_override";
  const Json* action = policy.Find("timeout_action");
  if (action != nullptr && action->AsString() == "DELAY") return "timeout_action DELAY";
  return "";
}

}  // namespace

std::string QueuePolicy::Text() const {
  std::string text = max_size > 0 ? "at most " + std::to_string(max_size) + " requests wait" : "requests wait";
  if (timeout_us > 0) text += ", each at most " + std::to_string(timeout_us) + " us";
  return text;
}

QueuePolicy ReadQueuePolicy(const Json& config) {
  const Json* batching = config.Find("dynamic_batching");
  const Json* json = batching != nullptr ? batching->Find("default_queue_policy") : nullptr;
  if (json == nullptr) return {};
  QueuePolicy policy;
  policy.max_size = Number(*json, "max_queue_size");
  policy.timeout_us = Number(*json, "default_timeout_microseconds");
  const std::string reason = OnlyTritonCan(*batching, *json);
  if (!policy.IsBounded() || reason.empty()) return policy;
  Log(TRITONSERVER_LOG_WARN, "config.pbtxt: the queue's bounds are left to Triton because of " + reason +
                                 "; its batcher may starve while its queue is full");
  return {};
}

}  // namespace recserve
