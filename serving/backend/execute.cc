#include "execute.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>

#include "batch.h"
#include "request.h"
#include "status.h"

namespace recserve {

namespace {

// Lets a batch read request buffers in place, and at its end sees to it that nothing reads them any longer: after the
// responses the server reuses that memory. The graph was searched for operations that keep inputs, so the wait never
// happens; should it, it is better than wrong answers.
class Borrowing {
 public:
  explicit Borrowing(Instance* instance) : instance_(instance) {
    if (instance->may_borrow()) borrowers_ = std::make_shared<std::atomic<int>>(0);
  }

  ~Borrowing() {
    if (borrowers_ == nullptr || *borrowers_ == 0) return;
    instance_->ForbidBorrowing();
    Log(TRITONSERVER_LOG_ERROR,
        instance_->model().label() + ": the graph keeps its inputs; from now on they are copied");
    constexpr auto kPatience = std::chrono::seconds(1);
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (*borrowers_ > 0 && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  Borrowing(const Borrowing&) = delete;
  Borrowing& operator=(const Borrowing&) = delete;

  const Borrowers& borrowers() const { return borrowers_; }

 private:
  Instance* instance_;
  Borrowers borrowers_;
};

Times TimesAt(uint64_t now_ns) { return {now_ns, now_ns, now_ns, now_ns}; }

std::vector<bool> WantedByAny(const Group& group) {
  std::vector<bool> wanted = group[0]->wanted();
  for (const PendingRequest* request : group) {
    std::transform(
        wanted.begin(), wanted.end(), request->wanted().begin(), wanted.begin(), [](bool a, bool b) { return a || b; });
  }
  return wanted;
}

class Execution {
 public:
  Execution(Instance* instance, TRITONBACKEND_ModelInstance* triton_instance)
      : instance_(instance), model_(instance->model()), triton_instance_(triton_instance) {}

  void Run(const Requests& requests) {
    for (const auto& request : requests) {
      request->set_times(TimesAt(NowNs()));
      AddToGroup(request.get());
    }
    for (const Group& group : groups_) RunGroup(group);
  }

 private:
  void AddToGroup(PendingRequest* request) {
    const auto fitting = std::find_if(
        groups_.begin(), groups_.end(), [&](const Group& group) { return group[0]->FitsWith(*request, model_); });
    if (fitting != groups_.end()) {
      fitting->push_back(request);
    } else {
      groups_.push_back({request});
    }
  }

  // Asked as late as possible: while another group of the same call was computed, clients may have given up.
  void DropCancelled(Group* group) const {
    if (!model_.settings().drop_cancelled) return;
    const auto cancelled = std::stable_partition(
        group->begin(), group->end(), [](const PendingRequest* request) { return !request->IsCancelled(); });
    std::for_each(cancelled, group->end(), [](PendingRequest* request) {
      request->Fail(TRITONSERVER_ERROR_CANCELLED, "the request was cancelled before it was computed");
    });
    group->erase(cancelled, group->end());
  }

  // A batch that fails is run again one request at a time, so that only the guilty one fails.
  void RunGroup(Group group) {
    DropCancelled(&group);
    if (group.empty()) return;
    Times times;
    times.exec_start_ns = NowNs();
    try {
      ComputeAndPrepare(group, &times);
    } catch (const BackendError& error) {
      if (group.size() > 1) {
        for (PendingRequest* request : group) RunGroup({request});
        return;
      }
      times.exec_end_ns = NowNs();
      group[0]->set_times(times);
      group[0]->Fail(error.code(), error.what());
      return;
    }
    for (PendingRequest* request : group) request->Send();
    times.exec_end_ns = NowNs();
    for (PendingRequest* request : group) request->set_times(times);
    LogIfFailed(
        TRITONBACKEND_ModelInstanceReportBatchStatistics(
            triton_instance_, static_cast<uint64_t>(TotalRows(group)), times.exec_start_ns, times.compute_start_ns,
            times.compute_end_ns, times.exec_end_ns),
        "reporting batch statistics");
  }

  // No tensor outlives it: what is sent afterwards may free the requests' memory. Throws only before the first
  // response is made.
  void ComputeAndPrepare(const Group& group, Times* times) {
    times->compute_start_ns = times->compute_end_ns = times->exec_start_ns;
    const Borrowing borrowing(instance_);
    const int64_t rows = model_.config().buckets.SizeFor(TotalRows(group));
    const std::vector<Tensor> inputs = GatherInputs(model_, group, rows, borrowing.borrowers());
    times->compute_start_ns = times->compute_end_ns = NowNs();
    const std::vector<Tensor> outputs = instance_->Run(inputs, WantedByAny(group));
    times->compute_end_ns = NowNs();
    const auto parts = CutOutputs(model_, group, outputs, rows);
    for (size_t i = 0; i < group.size(); ++i) group[i]->Prepare(model_, outputs, parts[i]);
  }

  Instance* instance_;
  const Model& model_;
  TRITONBACKEND_ModelInstance* triton_instance_;
  std::vector<Group> groups_;
};

}  // namespace

Requests ReadRequests(
    const Model& model, TRITONBACKEND_ModelInstance* triton_instance, TRITONBACKEND_Request** requests,
    uint32_t count) {
  Requests read, refused;
  read.reserve(count);
  refused.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    auto request = std::make_unique<PendingRequest>(requests[i]);
    try {
      request->Read(model);
      read.push_back(std::move(request));
    } catch (const BackendError& error) {
      request->Fail(error.code(), error.what());
      refused.push_back(std::move(request));
    } catch (const std::exception& error) {
      request->Fail(TRITONSERVER_ERROR_INTERNAL, error.what());
      refused.push_back(std::move(request));
    }
  }
  FinishRefused(refused, triton_instance);
  return read;
}

void RunRequests(const Requests& requests, Instance* instance, TRITONBACKEND_ModelInstance* triton_instance) {
  std::string failure = "the batch was not run";
  try {
    Execution(instance, triton_instance).Run(requests);
  } catch (const std::exception& error) {
    failure = error.what();
  }
  for (const auto& request : requests) {
    if (!request->answered()) request->Fail(TRITONSERVER_ERROR_INTERNAL, failure);
    request->Finish(triton_instance);
  }
  instance->GiveWayToRequests();
}

void FinishRefused(const Requests& requests, TRITONBACKEND_ModelInstance* triton_instance) {
  for (const auto& request : requests) {
    request->set_times(TimesAt(NowNs()));
    request->Finish(triton_instance);
  }
}

}  // namespace recserve
