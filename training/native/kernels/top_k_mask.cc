// Which k steps of each row have the highest scores, as a mask.

#include <algorithm>
#include <vector>

#include "operation.h"
#include "step_weights.h"
#include "tensorflow/core/util/work_sharder.h"

namespace recserve {
namespace {

class TopKMaskOp : public OpKernel {
 public:
  explicit TopKMaskOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("k", &k_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& scores = context->input(0);
    const Tensor& mask = context->input(1);
    OP_REQUIRES(context, scores.dims() == 2 && mask.shape() == scores.shape(),
                tensorflow::errors::InvalidArgument("top-k mask: scores and mask must be [B, L]"));
    const int64_t steps = scores.dim_size(1);
    Tensor* selected;
    OP_REQUIRES_OK(context, context->allocate_output(0, scores.shape(), &selected));
    const float* score = scores.flat<float>().data();
    const bool* real = mask.flat<bool>().data();
    bool* out = selected->flat<bool>().data();
    auto* workers = context->device()->tensorflow_cpu_worker_threads();
    tensorflow::Shard(workers->num_threads, workers->workers, scores.dim_size(0), 20 * steps,
                      [&](int64_t begin, int64_t end) {
                        std::vector<float> scratch(2 * steps);
                        std::vector<int32_t> at(steps);
                        for (int64_t row = begin; row < end; ++row) {
                          SelectRow(score + row * steps, real + row * steps, steps, scratch.data(), at.data(), out + row * steps);
                        }
                      });
  }

 private:
  void SelectRow(const float* score, const bool* real, int64_t steps, float* scratch, int32_t* at, bool* out) const {
    int64_t count = 0;
    for (int64_t step = 0; step < steps; ++step) {
      if (!real[step]) continue;
      scratch[count] = score[step];
      at[count++] = static_cast<int32_t>(step);
    }
    const int64_t chosen = SelectHighest(count, k_, scratch, scratch + steps, at);
    std::fill(out, out + steps, false);
    for (int64_t n = 0; n < chosen; ++n) out[at[n]] = true;
  }

  int64_t k_;
};

}  // namespace

REGISTER_OP("RecserveTopKMask")
    .Input("scores: float")
    .Input("mask: bool")
    .Output("selected: bool")
    .Attr("k: int >= 1")
    .SetShapeFn(tensorflow::shape_inference::UnchangedShape);
REGISTER_KERNEL_BUILDER(Name("RecserveTopKMask").Device(tensorflow::DEVICE_CPU), TopKMaskOp);

}  // namespace recserve
