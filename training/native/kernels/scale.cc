// A tensor times a scalar that is 1 in most steps; then the tensor itself is handed on.

#include "blocks.h"
#include "operation.h"
#include "vector.h"

namespace recserve {
namespace {

// value [...], scale [] float -> value · scale.
template <typename T>
class ScaleOp : public OpKernel {
 public:
  explicit ScaleOp(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    const Tensor& value = context->input(0);
    OP_REQUIRES(context, context->input(1).NumElements() == 1,
                tensorflow::errors::InvalidArgument("scale: expected a scalar, got ", context->input(1).shape().DebugString()));
    const float scale = context->input(1).flat<float>()(0);
    if (scale == 1.0f) {
      context->set_output(0, value);
      return;
    }
    Tensor* scaled;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, value.shape(), &scaled));
    const int64_t count = value.NumElements();
    if (count == 0) return;
    const T* in = value.flat<T>().data();
    T* out = scaled->flat<T>().data();
    ForEachShard(context, count, ShardsOf(context, count), [&](int64_t begin, int64_t end, int64_t) {
      int64_t i = begin;
      for (; i + kLanes <= end; i += kLanes) Store(scale * Load(in + i), out + i);
      for (; i < end; ++i) out[i] = T(scale * static_cast<float>(in[i]));
    });
  }
};

}  // namespace

REGISTER_OP("RecserveScale")
    .Input("value: T")
    .Input("scale: float")
    .Output("scaled: T")
    .Attr("T: {float, bfloat16}")
    .SetShapeFn(tensorflow::shape_inference::UnchangedShape);

RECSERVE_REGISTER_CPU("RecserveScale", ScaleOp);

}  // namespace recserve
