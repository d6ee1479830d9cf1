// Loads real SavedModels through the backend's own entry points and sends requests from several threads.
// Arguments: the model repository of the serving tests, and the number of calls per thread.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <thread>

#include "batch.h"
#include "fake_triton.h"
#include "nth_element_check.h"

namespace {

#define REQUIRE(condition)                                                                  \
  do {                                                                                      \
    if (!(condition)) {                                                                     \
      std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);        \
      std::abort();                                                                         \
    }                                                                                       \
  } while (false)

void Require(TRITONSERVER_Error* error) {
  if (error == nullptr) return;
  std::fprintf(stderr, "unexpected error: %s\n", error->message.c_str());
  std::abort();
}

// A loaded model with its instances.
class Loaded {
 public:
  Loaded(TRITONBACKEND_Backend* backend, const std::string& repository, const std::string& name,
         const std::string& config, int instances) {
    model_.name = name;
    model_.folder = repository + "/" + name;
    model_.config = config;
    model_.backend = backend;
    Require(TRITONBACKEND_ModelInitialize(&model_));
    for (int i = 0; i < instances; ++i) {
      instances_.push_back(std::make_unique<TRITONBACKEND_ModelInstance>());
      instances_.back()->model = &model_;
      Require(TRITONBACKEND_ModelInstanceInitialize(instances_.back().get()));
    }
  }

  ~Loaded() {
    for (const auto& instance : instances_) Require(TRITONBACKEND_ModelInstanceFinalize(instance.get()));
    Require(TRITONBACKEND_ModelFinalize(&model_));
  }

  TRITONBACKEND_ModelInstance* instance(size_t i) { return instances_.at(i).get(); }

  void Execute(size_t i, std::vector<TRITONBACKEND_Request>* requests) {
    std::vector<TRITONBACKEND_Request*> pointers;
    for (TRITONBACKEND_Request& request : *requests) pointers.push_back(&request);
    Require(TRITONBACKEND_ModelInstanceExecute(instance(i), pointers.data(), static_cast<uint32_t>(pointers.size())));
    for (const TRITONBACKEND_Request& request : *requests) {
      while (!IsReleased(request)) std::this_thread::sleep_for(std::chrono::microseconds(50));
      REQUIRE(request.responses == 1);
    }
  }

 private:
  TRITONBACKEND_Model model_;
  std::vector<std::unique_ptr<TRITONBACKEND_ModelInstance>> instances_;
};

std::string Encode(const std::vector<std::string>& elements) {
  std::string data;
  for (const std::string& element : elements) {
    const uint32_t size = static_cast<uint32_t>(element.size());
    data.append(reinterpret_cast<const char*>(&size), sizeof(size));
    data += element;
  }
  return data;
}

template <typename T>
std::string Bytes(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

// The model `open_width`: same = x, for any number of rows and columns.
void CheckNumbers(Loaded* loaded, size_t instance, std::mt19937* random) {
  std::vector<TRITONBACKEND_Request> requests(1 + (*random)() % 5);
  std::vector<std::string> sent;
  for (TRITONBACKEND_Request& request : requests) {
    const int64_t rows = 1 + (*random)() % 4, width = (*random)() % 6;
    std::vector<float> values(static_cast<size_t>(rows * width));
    for (float& value : values) value = static_cast<float>((*random)());
    sent.push_back(Bytes(values));
    request.AddInput("x", TRITONSERVER_TYPE_FP32, {rows, width}, sent.back(), 1 + (*random)() % 3);
    request.cancelled = (*random)() % 8 == 0;
    if ((*random)() % 2 == 0) request.wanted = {"same"};
  }
  loaded->Execute(instance, &requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    if (requests[i].cancelled) {
      REQUIRE(requests[i].error_code == TRITONSERVER_ERROR_CANCELLED && requests[i].outputs.empty());
      continue;
    }
    REQUIRE(requests[i].error.empty());
    REQUIRE(requests[i].outputs.at("same").data == sent[i]);
    REQUIRE(requests[i].outputs.count("sum") == (requests[i].wanted.empty() ? 1 : 0));
  }
}

// The model `echo_string`: y = x reversed. Every third request or so is malformed; its neighbours must not notice.
void CheckStrings(Loaded* loaded, size_t instance, std::mt19937* random) {
  std::vector<TRITONBACKEND_Request> requests(1 + (*random)() % 4);
  std::vector<std::string> expected;
  for (TRITONBACKEND_Request& request : requests) {
    std::vector<std::string> elements;
    for (int i = 0; i < 3; ++i) elements.push_back(std::string((*random)() % 60, static_cast<char>('a' + i)));
    std::string data = Encode(elements);
    switch ((*random)() % 9) {
      case 0:
        data.resize((*random)() % data.size());  // cut off
        break;
      case 1:
        data += "more";
        break;
      case 2:
        data[3] = '\x7f';  // a length of almost 2 GiB
        break;
      default:
        break;
    }
    const bool good = data == Encode(elements);
    request.AddInput("x", TRITONSERVER_TYPE_BYTES, {1, 3}, data, 1 + (*random)() % 7);
    expected.push_back(good ? Encode({elements[2], elements[1], elements[0]}) : "");
  }
  loaded->Execute(instance, &requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    if (expected[i].empty()) {
      REQUIRE(requests[i].error.find("input 'x' is BYTES and malformed") == 0);
      REQUIRE(requests[i].error_code == TRITONSERVER_ERROR_INVALID_ARG);
    } else {
      REQUIRE(requests[i].error.empty());
      REQUIRE(requests[i].outputs.at("y").data == expected[i]);
    }
  }
}

constexpr int64_t kWidth = 1000;
constexpr size_t kAlignedBytes = 4096;  // kWidth floats and a little more

// A request whose input `x`, of kWidth floats, lies in memory of the caller's.
void AddAlignedInput(TRITONBACKEND_Request* request, const void* memory) {
  auto input = std::make_unique<TRITONBACKEND_Input>();
  input->name = "x";
  input->dtype = TRITONSERVER_TYPE_FP32;
  input->shape = {1, kWidth};
  input->aligned = memory;
  input->aligned_bytes = kWidth * sizeof(float);
  request->inputs.push_back(std::move(input));
}

// Aligned memory is read in place if the graph cannot keep it, other memory is copied.
void CheckBorrowing(Loaded* loaded, bool expected) {
  auto* instance = static_cast<recserve::Instance*>(loaded->instance(0)->state);
  REQUIRE(instance->may_borrow() == expected);
  char* memory = static_cast<char*>(std::aligned_alloc(kAlignedBytes, 2 * kAlignedBytes));
  std::memset(memory, 0, 2 * kAlignedBytes);
  for (const size_t offset : {size_t{0}, size_t{64}, size_t{4}}) {
    TRITONBACKEND_Request request;
    AddAlignedInput(&request, memory + offset);
    recserve::PendingRequest pending(&request);
    pending.Read(instance->model());
    const auto borrowers = std::make_shared<std::atomic<int>>(0);
    {
      const auto inputs = recserve::GatherInputs(instance->model(), {&pending}, 1, borrowers);
      const bool in_place = TF_TensorData(inputs[0].get()) == memory + offset;
      REQUIRE(in_place == (offset % TF_TensorDefaultAlignment() == 0));
      REQUIRE(*borrowers == (in_place ? 1 : 0));
    }
    REQUIRE(*borrowers == 0);
    const auto copies = recserve::GatherInputs(instance->model(), {&pending}, 1, nullptr);
    REQUIRE(TF_TensorData(copies[0].get()) != memory + offset);
  }
  std::free(memory);
}

// The model `keeper` answers with what it was sent before: its memory must be a copy, for the fake frees the
// request's. One thread only, for the model has one memory.
void CheckKeeper(Loaded* loaded, size_t calls) {
  void* memory = std::aligned_alloc(64, kAlignedBytes);
  std::string last;
  for (size_t call = 0; call < calls; ++call) {
    std::vector<float> values(kWidth, static_cast<float>(call + 1));
    std::memcpy(memory, values.data(), kWidth * sizeof(float));
    std::vector<TRITONBACKEND_Request> requests(1);
    AddAlignedInput(&requests[0], memory);
    loaded->Execute(0, &requests);
    REQUIRE(requests[0].error.empty());
    if (!last.empty()) REQUIRE(requests[0].outputs.at("y").data == last);
    last = Bytes(values);
  }
  std::free(memory);
}

// A bad request of every kind gets an error of its own.
void CheckBadRequests(Loaded* loaded) {
  const std::string twelve(12, '\0');
  const struct {
    const char* name;
    TRITONSERVER_DataType dtype;
    std::vector<int64_t> shape;
    std::string data;
    const char* error;
  } cases[] = {
      {"x", TRITONSERVER_TYPE_FP32, {1, 3}, std::string(11, '\0'), "input 'x' has 11 bytes, expected 12"},
      {"x", TRITONSERVER_TYPE_FP32, {1, -3}, twelve, "input 'x' has impossible shape [1,-3]"},
      {"x", TRITONSERVER_TYPE_FP32, {INT64_MAX, 3}, twelve, "input 'x' has impossible shape"},
      {"x", TRITONSERVER_TYPE_FP32, {INT64_MAX / 3, 3}, twelve, "input 'x' has impossible shape"},
      {"x", TRITONSERVER_TYPE_FP32, {0, 3}, "", "input 'x' has 0 rows"},
      {"x", TRITONSERVER_TYPE_FP32, {3}, twelve, "input 'x' has shape [3]"},
      {"x", TRITONSERVER_TYPE_INT32, {1, 3}, twelve, "input 'x' has another data type"},
      {"z", TRITONSERVER_TYPE_FP32, {1, 3}, twelve, "input 'x' is missing"},
  };
  for (const auto& bad : cases) {
    std::vector<TRITONBACKEND_Request> requests(1);
    requests[0].AddInput(bad.name, bad.dtype, bad.shape, bad.data);
    loaded->Execute(0, &requests);
    if (requests[0].error.find(bad.error) != 0) {
      std::fprintf(stderr, "got '%s', expected '%s'\n", requests[0].error.c_str(), bad.error);
      std::abort();
    }
  }
  std::vector<TRITONBACKEND_Request> unknown(1);
  unknown[0].AddInput("x", TRITONSERVER_TYPE_FP32, {1, 3}, twelve);
  unknown[0].wanted = {"surprise"};
  loaded->Execute(0, &unknown);
  REQUIRE(unknown[0].error == "output 'surprise' is not known");
}

// Many threads and little room: a request is answered or refused, none is lost.
void CheckBounds(Loaded* bounded, size_t instance, std::mt19937* random) {
  std::vector<TRITONBACKEND_Request> requests(1 + (*random)() % 3);
  const std::string sent = Bytes<float>({static_cast<float>((*random)()), 2});
  for (TRITONBACKEND_Request& request : requests) request.AddInput("x", TRITONSERVER_TYPE_FP32, {1, 2}, sent);
  bounded->Execute(instance, &requests);
  for (const TRITONBACKEND_Request& request : requests) {
    if (request.error.empty()) {
      REQUIRE(request.outputs.at("same").data == sent);
    } else {
      REQUIRE(request.error_code == TRITONSERVER_ERROR_UNAVAILABLE && request.outputs.empty());
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  REQUIRE(argc == 3);
  CheckNthHighest();
  const std::string repository = argv[1];
  const int calls = std::atoi(argv[2]);
  constexpr size_t kThreads = 4;
  TRITONBACKEND_Backend backend;
  backend.config.json = R"({"cmdline":{"default-max-batch-size":"64"}})";
  Require(TRITONBACKEND_Initialize(&backend));

  const std::string empty = "{}";
  const std::string buckets =
      R"({"max_batch_size":64,"parameters":{"BATCH_BUCKETS":{"string_value":"2,8"},"WARM_BUCKETS":{"string_value":"1"},)"
      R"("TF_NUM_INTER_THREADS":{"string_value":"1"},"TF_NUM_INTRA_THREADS":{"string_value":"1"}}})";
  Loaded numbers(&backend, repository, "open_width", empty, kThreads);
  Loaded strings(&backend, repository, "echo_string", empty, kThreads);
  Loaded padded(&backend, repository, "echo_string", buckets, kThreads);
  const std::string queued =
      R"({"max_batch_size":64,"dynamic_batching":{"default_queue_policy":{"max_queue_size":1000}}})";
  const std::string little_room =
      R"({"max_batch_size":4,"parameters":{"MAX_QUEUE_SIZE":{"string_value":"1"},)"
      R"("QUEUE_TIMEOUT_US":{"string_value":"20"}}})";
  Loaded waiting(&backend, repository, "echo_string", queued, kThreads);
  Loaded bounded(&backend, repository, "open_width", little_room, kThreads);
  Loaded keeper(&backend, repository, "keeper", empty, 1);
  CheckBadRequests(&numbers);
  CheckBorrowing(&numbers, true);
  CheckBorrowing(&keeper, false);

  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (int call = 0; call < calls; ++call) {
        CheckNumbers(&numbers, t, &random);
        CheckStrings(&strings, t, &random);
        CheckStrings(&padded, t, &random);
        CheckStrings(&waiting, t, &random);
        CheckBounds(&bounded, t, &random);
      }
    });
  }
  threads.emplace_back([&] { CheckKeeper(&keeper, static_cast<size_t>(calls)); });
  // Models come and go meanwhile, and share the sessions of those that stay.
  threads.emplace_back([&] {
    for (int i = 0; i < 1 + calls / 20; ++i) Loaded(&backend, repository, "open_width", empty, 2);
  });
  for (std::thread& thread : threads) thread.join();
  std::printf("done: %d calls in each of %zu threads\n", calls, kThreads);
  return 0;
}
