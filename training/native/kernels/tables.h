// Embedding tables with the ids that a history has of each: the inputs `tables` and `ids` of the attention kernels.
#pragma once

#include <cstdint>
#include <vector>

#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/util/work_sharder.h"
#include "vector.h"

namespace recserve {

// One table with its ids, and where its part of the item vector begins.
struct Part {
  const float* table;
  const int32_t* ids;
  int64_t rows;
  int64_t width;
  int64_t offset;
};

struct Tables {
  std::vector<Part> parts;
  int64_t batch = 0, steps = 0, width = 0;
};

inline tensorflow::Status ReadTables(tensorflow::OpKernelContext* context, Tables* tables) {
  tensorflow::OpInputList values, ids;
  TF_RETURN_IF_ERROR(context->input_list("tables", &values));
  TF_RETURN_IF_ERROR(context->input_list("ids", &ids));
  for (int i = 0; i < values.size(); ++i) {
    if (values[i].dims() != 2 || ids[i].dims() != 2 || ids[i].shape() != ids[0].shape()) {
      return tensorflow::errors::InvalidArgument("history: expected tables [V, D] and ids [B, L] of one shape");
    }
    const Part part{values[i].flat<float>().data(), ids[i].flat<int32_t>().data(), values[i].dim_size(0),
                    values[i].dim_size(1), tables->width};
    const int64_t count = ids[i].NumElements();
    bool inside = true;
    for (int64_t n = 0; n < count; ++n) {
      inside &= static_cast<uint64_t>(part.ids[n]) < static_cast<uint64_t>(part.rows);
    }
    if (!inside) {
      return tensorflow::errors::InvalidArgument("history: an id is outside its table of ", part.rows, " rows");
    }
    tables->parts.push_back(part);
    tables->width += part.width;
  }
  tables->batch = ids[0].dim_size(0);
  tables->steps = ids[0].dim_size(1);
  return tensorflow::OkStatus();
}

inline void AddScaled(float factor, const float* from, int64_t width, float* to) {
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) Store(Load(to + i) + factor * Load(from + i), to + i);
  for (; i < width; ++i) to[i] += factor * from[i];
}

template <typename Work>
void ForRows(tensorflow::OpKernelContext* context, int64_t rows, int64_t cost, Work work) {
  auto* workers = context->device()->tensorflow_cpu_worker_threads();
  tensorflow::Shard(workers->num_threads, workers->workers, rows, cost, work);
}

}  // namespace recserve
