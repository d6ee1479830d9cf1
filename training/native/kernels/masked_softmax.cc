// Softmax over the steps that are real, and its gradient; see layers/history.py.

#include <algorithm>
#include <vector>

#include "gemm.h"
#include "operation.h"
#include "step_weights.h"
#include "tensorflow/core/util/work_sharder.h"
#include "vector.h"

namespace recserve {
namespace {

// scores [B, Q, L] float, mask [B, L] bool -> weights [B, Q, L]: 0 where the mask is false, all 0 if nothing is true.
class MaskedSoftmaxOp : public OpKernel {
 public:
  explicit MaskedSoftmaxOp(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    const Tensor &scores = context->input(0), &mask = context->input(1);
    OP_REQUIRES(context,
                scores.dims() == 3 && mask.dims() == 2 && scores.dim_size(0) == mask.dim_size(0) &&
                    scores.dim_size(2) == mask.dim_size(1),
                tensorflow::errors::InvalidArgument("masked softmax: scores ", scores.shape().DebugString(), " and mask ",
                                                    mask.shape().DebugString(), " must be [B, Q, L] and [B, L]"));
    Tensor* weights;
    OP_REQUIRES_OK(context, context->allocate_output(0, scores.shape(), &weights));
    const int64_t queries = scores.dim_size(1), steps = scores.dim_size(2);
    const float* score = scores.flat<float>().data();
    const bool* real = mask.flat<bool>().data();
    float* out = weights->flat<float>().data();
    auto* workers = context->device()->tensorflow_cpu_worker_threads();
    tensorflow::Shard(workers->num_threads, workers->workers, scores.dim_size(0) * queries, 4 * steps,
                      [&](int64_t begin, int64_t end) {
                        std::vector<float> row(PaddedColumns(steps + 1));
                        for (int64_t n = begin; n < end; ++n) {
                          WriteRow(score + n * steps, real + n / queries * steps, steps, row.data(), out + n * steps);
                        }
                      });
  }

 private:
  static void WriteRow(const float* score, const bool* real, int64_t steps, float* row, float* out) {
    int64_t count = 0;
    for (int64_t i = 0; i < steps; ++i) {
      row[count] = score[i];
      count += real[i];
    }
    Softmax(count, row);
    int64_t taken = 0;
    for (int64_t i = 0; i < steps; ++i) out[i] = real[i] ? row[taken++] : 0.0f;
  }
};

// weights and upstream [B, Q, L] -> w∘(g − Σ w∘g).
class MaskedSoftmaxGradientOp : public OpKernel {
 public:
  explicit MaskedSoftmaxGradientOp(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    const Tensor &weights = context->input(0), &upstream = context->input(1);
    OP_REQUIRES(context, weights.dims() == 3 && weights.shape() == upstream.shape(),
                tensorflow::errors::InvalidArgument("masked softmax gradient: expected two of [B, Q, L]"));
    Tensor* gradient;
    OP_REQUIRES_OK(context, context->allocate_output(0, weights.shape(), &gradient));
    const int64_t steps = weights.dim_size(2);
    const float *w = weights.flat<float>().data(), *g = upstream.flat<float>().data();
    float* out = gradient->flat<float>().data();
    auto* workers = context->device()->tensorflow_cpu_worker_threads();
    tensorflow::Shard(workers->num_threads, workers->workers, weights.dim_size(0) * weights.dim_size(1), 2 * steps,
                      [&](int64_t begin, int64_t end) {
                        for (int64_t at = begin * steps; at < end * steps; at += steps) WriteRow(w + at, g + at, steps, out + at);
                      });
  }

 private:
  static void WriteRow(const float* w, const float* g, int64_t steps, float* out) {
    Floats sums{};
    float mean = 0.0f;
    int64_t i = 0;
    for (; i + kLanes <= steps; i += kLanes) sums += Load(w + i) * Load(g + i);
    for (; i < steps; ++i) mean += w[i] * g[i];
    mean += Sum(sums);
    for (i = 0; i + kLanes <= steps; i += kLanes) Store(Load(w + i) * (Load(g + i) - mean), out + i);
    for (; i < steps; ++i) out[i] = w[i] * (g[i] - mean);
  }
};

}  // namespace

REGISTER_OP("RecserveMaskedSoftmax")
    .Input("scores: float")
    .Input("mask: bool")
    .Output("weights: float")
    .SetShapeFn(tensorflow::shape_inference::UnchangedShape);
REGISTER_OP("RecserveMaskedSoftmaxGradient")
    .Input("weights: float")
    .Input("upstream: float")
    .Output("scores_gradient: float")
    .SetShapeFn(tensorflow::shape_inference::UnchangedShape);
REGISTER_KERNEL_BUILDER(Name("RecserveMaskedSoftmax").Device(tensorflow::DEVICE_CPU), MaskedSoftmaxOp);
REGISTER_KERNEL_BUILDER(Name("RecserveMaskedSoftmaxGradient").Device(tensorflow::DEVICE_CPU), MaskedSoftmaxGradientOp);

}  // namespace recserve
