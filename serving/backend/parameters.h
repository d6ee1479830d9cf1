// `parameters` and `optimization` of config.pbtxt: the official TensorFlow backend's, with its names and meanings,
// and this backend's own BATCH_BUCKETS, WARM_BUCKETS, MAX_QUEUE_SIZE, QUEUE_TIMEOUT_US and CPU_KERNELS.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "json.h"
#include "queue_policy.h"

namespace recserve {

// What a TensorFlow session is made with: sessions with the same options may be shared.
struct SessionOptions {
  int64_t intra_op_threads = 0;       // TF_NUM_INTRA_THREADS, 0: TensorFlow decides
  int64_t inter_op_threads = 0;       // TF_NUM_INTER_THREADS, 0: TensorFlow decides
  bool per_session_threads = false;   // TF_USE_PER_SESSION_THREADS
  std::string graph_tag = "serve";    // TF_GRAPH_TAG
  int64_t graph_level = 0;            // optimization.graph.level: 1 and 2 switch XLA's auto-clustering on, -1 off
  bool cpu_kernels = true;            // CPU_KERNELS: serve the graph made of them, if the SavedModel has one

  // With one inter-op thread every instance runs its graph in its own thread.
  bool RunsInCaller() const { return inter_op_threads == 1; }
  // And with one intra-op thread operations do not use others either.
  bool ComputesInCaller() const { return RunsInCaller() && intra_op_threads == 1; }
  // Everything that tells two sessions apart, for logs and as a key.
  std::string Text() const;
};

struct Parameters {
  SessionOptions session;
  std::string signature;                // TF_SIGNATURE_DEF; empty: see ChooseSignature
  int64_t max_session_share_count = 0;  // MAX_SESSION_SHARE_COUNT, 0: no limit
  std::vector<int64_t> batch_buckets;   // BATCH_BUCKETS as written, ascending; empty: batches are not padded
  bool warm_buckets = false;            // WARM_BUCKETS
  QueuePolicy queue;                    // MAX_QUEUE_SIZE, QUEUE_TIMEOUT_US
};

// Throws BackendError(INVALID_ARG) that names the parameter and its value if it is unknown or makes no sense.
Parameters ReadParameters(const Json& config);

}  // namespace recserve
