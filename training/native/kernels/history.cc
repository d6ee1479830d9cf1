// Attention on histories straight from embedding tables: scores of queries against every step, weighted sums of the
// steps, and the tables' gradients. No copy of the history's vectors is made; row 0, the padding, counts as zeros.

#include <algorithm>
#include <vector>

#include "operation.h"
#include "row_slots.h"
#include "tables.h"
#include "vector.h"

namespace recserve {
namespace {

// Adds a·b to `lanes` where whole vectors fit; returns the rest's sum.
inline float AddProducts(const float* a, const float* b, int64_t width, Floats* lanes) {
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) *lanes += Load(a + i) * Load(b + i);
  float rest = 0.0f;
  for (; i < width; ++i) rest += a[i] * b[i];
  return rest;
}

class HistoryScoresOp : public OpKernel {
 public:
  explicit HistoryScoresOp(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    Tables tables;
    OP_REQUIRES_OK(context, ReadTables(context, &tables));
    const Tensor& queries = context->input(0);
    OP_REQUIRES(context, queries.dims() == 3 && queries.dim_size(0) == tables.batch && queries.dim_size(2) == tables.width,
                tensorflow::errors::InvalidArgument("history scores: queries ", queries.shape().DebugString(),
                                                    " do not fit tables of width ", tables.width));
    const int64_t count = queries.dim_size(1), steps = tables.steps;
    Tensor* scores;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({tables.batch, count, steps}), &scores));
    const float* query = queries.flat<float>().data();
    float* out = scores->flat<float>().data();
    ForRows(context, tables.batch, count * steps * tables.width, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        float* here = out + row * count * steps;
        for (int64_t step = 0; step < steps; ++step) {
          for (int64_t q = 0; q < count; ++q) {
            Floats lanes{};
            float rest = 0.0f;
            for (const Part& part : tables.parts) {
              const int64_t id = part.ids[row * steps + step];
              if (id == 0) continue;
              const float* of_query = query + (row * count + q) * tables.width + part.offset;
              rest += AddProducts(of_query, part.table + id * part.width, part.width, &lanes);
            }
            here[q * steps + step] = rest + Sum(lanes);
          }
        }
      }
    });
  }
};

class HistoryPoolOp : public OpKernel {
 public:
  explicit HistoryPoolOp(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    Tables tables;
    OP_REQUIRES_OK(context, ReadTables(context, &tables));
    const Tensor& weights = context->input(0);
    OP_REQUIRES(context, weights.dims() == 3 && weights.dim_size(0) == tables.batch && weights.dim_size(2) == tables.steps,
                tensorflow::errors::InvalidArgument("history pool: weights ", weights.shape().DebugString(),
                                                    " do not fit ", tables.steps, " steps"));
    const int64_t count = weights.dim_size(1), steps = tables.steps;
    Tensor* pooled;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({tables.batch, count, tables.width}), &pooled));
    const float* weight = weights.flat<float>().data();
    float* out = pooled->flat<float>().data();
    ForRows(context, tables.batch, count * steps * tables.width, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        float* here = out + row * count * tables.width;
        std::fill(here, here + count * tables.width, 0.0f);
        for (const Part& part : tables.parts) {
          const int32_t* ids = part.ids + row * steps;
          for (int64_t step = 0; step < steps; ++step) {
            if (ids[step] == 0) continue;
            const float* item = part.table + ids[step] * part.width;
            for (int64_t q = 0; q < count; ++q) {
              const float factor = weight[(row * count + q) * steps + step];
              if (factor != 0.0f) AddScaled(factor, item, part.width, here + q * tables.width + part.offset);
            }
          }
        }
      }
    });
  }
};

// Σ coefficients[b, q, l] · vectors[b, q, :] for each id of ids [B, L]: the table's gradient, each id once, without 0.
class OuterScatterOp : public OpKernel {
 public:
  explicit OuterScatterOp(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    const Tensor& coefficients = context->input(0);
    const Tensor& vectors = context->input(1);
    const Tensor& ids = context->input(2);
    const int64_t rows = context->input(3).scalar<int32_t>()();
    const int64_t steps = ids.dim_size(1);
    const int64_t count = vectors.dim_size(1), width = vectors.dim_size(2);
    const float* factor = coefficients.flat<float>().data();
    const float* vector = vectors.flat<float>().data();
    SumByRow(context, ids.flat<int32_t>().data(), ids.NumElements(), steps, rows, width,
             [&](int64_t begin, int64_t end, const RowSlots& slots, float* to) {
               for (int64_t row = begin; row < end; ++row) {
                 for (int64_t step = 0; step < steps; ++step) {
                   const int64_t slot = slots.of(row * steps + step);
                   if (slot == 0) continue;
                   for (int64_t q = 0; q < count; ++q) {
                     const float f = factor[(row * count + q) * steps + step];
                     if (f != 0.0f) AddScaled(f, vector + (row * count + q) * width, width, to + slot * width);
                   }
                 }
               }
             });
  }
};

// Sums the values [N, D] of equal ids [N] and drops id 0.
class UniqueRowsOp : public OpKernel {
 public:
  explicit UniqueRowsOp(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    const Tensor& ids = context->input(0);
    const Tensor& values = context->input(1);
    const int64_t rows = context->input(2).scalar<int32_t>()();
    const int64_t width = values.dim_size(1);
    const float* value = values.flat<float>().data();
    SumByRow(context, ids.flat<int32_t>().data(), ids.NumElements(), 1, rows, width,
             [&](int64_t begin, int64_t end, const RowSlots& slots, float* to) {
               for (int64_t n = begin; n < end; ++n) {
                 const int64_t slot = slots.of(n);
                 if (slot != 0) AddScaled(1.0f, value + n * width, width, to + slot * width);
               }
             });
  }
};

tensorflow::Status RowsShape(tensorflow::shape_inference::InferenceContext* c, int values) {
  c->set_output(0, c->Vector(c->UnknownDim()));
  c->set_output(1, c->Matrix(c->UnknownDim(), c->Dim(c->input(values), -1)));
  return tensorflow::OkStatus();
}

}  // namespace

REGISTER_OP("RecserveHistoryScores")
    .Input("queries: float")
    .Input("tables: N * float")
    .Input("ids: N * int32")
    .Output("scores: float")
    .Attr("N: int >= 1")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) {
      c->set_output(0, c->UnknownShapeOfRank(3));
      return tensorflow::OkStatus();
    });
REGISTER_OP("RecserveHistoryPool")
    .Input("weights: float")
    .Input("tables: N * float")
    .Input("ids: N * int32")
    .Output("pooled: float")
    .Attr("N: int >= 1")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) {
      c->set_output(0, c->UnknownShapeOfRank(3));
      return tensorflow::OkStatus();
    });
REGISTER_OP("RecserveOuterScatter")
    .Input("coefficients: float")
    .Input("vectors: float")
    .Input("ids: int32")
    .Input("rows: int32")
    .Output("unique: int32")
    .Output("sums: float")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) { return RowsShape(c, 1); });
REGISTER_OP("RecserveUniqueRows")
    .Input("ids: int32")
    .Input("values: float")
    .Input("rows: int32")
    .Output("unique: int32")
    .Output("sums: float")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) { return RowsShape(c, 1); });

REGISTER_KERNEL_BUILDER(Name("RecserveHistoryScores").Device(tensorflow::DEVICE_CPU), HistoryScoresOp);
REGISTER_KERNEL_BUILDER(Name("RecserveHistoryPool").Device(tensorflow::DEVICE_CPU), HistoryPoolOp);
REGISTER_KERNEL_BUILDER(Name("RecserveOuterScatter").Device(tensorflow::DEVICE_CPU), OuterScatterOp);
REGISTER_KERNEL_BUILDER(Name("RecserveUniqueRows").Device(tensorflow::DEVICE_CPU), UniqueRowsOp);

}  // namespace recserve
