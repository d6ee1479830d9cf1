// Which k steps of each row have the highest scores, as a mask.

#include <algorithm>
#include <numeric>
#include <vector>

#include "operation.h"
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
                        std::vector<int32_t> order;
                        for (int64_t row = begin; row < end; ++row) {
                          SelectRow(score + row * steps, real + row * steps, steps, &order, out + row * steps);
                        }
                      });
  }

 private:
  // Of equal scores the earlier step wins, as in tf.math.top_k.
  void SelectRow(const float* score, const bool* real, int64_t steps, std::vector<int32_t>* order, bool* out) const {
    order->clear();
    for (int64_t step = 0; step < steps; ++step) {
      if (real[step]) order->push_back(static_cast<int32_t>(step));
    }
    if (static_cast<int64_t>(order->size()) <= k_) {
      std::copy(real, real + steps, out);
      return;
    }
    std::nth_element(order->begin(), order->begin() + k_, order->end(), [score](int32_t a, int32_t b) {
      return score[a] > score[b] || (score[a] == score[b] && a < b);
    });
    std::fill(out, out + steps, false);
    for (int64_t n = 0; n < k_; ++n) out[(*order)[n]] = true;
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
