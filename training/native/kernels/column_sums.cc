// Sums over rows: the gradient of a bias.

#include <algorithm>

#include "row_slots.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "vector.h"

namespace recserve {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;

template <typename T>
class ColumnSumsOp : public OpKernel {
 public:
  explicit ColumnSumsOp(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    const Tensor& x = context->input(0);
    OP_REQUIRES(context, x.dims() == 2, tensorflow::errors::InvalidArgument("column sums: expected [N, columns]"));
    const int64_t columns = x.dim_size(1);
    Tensor* sums;
    OP_REQUIRES_OK(context, context->allocate_output(0, {columns}, &sums));
    const T* values = x.flat<T>().data();
    AddInParallel(context, x.dim_size(0), columns, sums->flat<float>().data(),
                  [&](int64_t begin, int64_t end, float* to) {
                    for (int64_t row = begin; row < end; ++row) {
                      const T* from = values + row * columns;
                      int64_t i = 0;
                      for (; i + kLanes <= columns; i += kLanes) Store(Load(to + i) + Load(from + i), to + i);
                      for (; i < columns; ++i) to[i] += static_cast<float>(from[i]);
                    }
                  });
  }
};

}  // namespace

REGISTER_OP("RecserveColumnSums")
    .Input("x: T")
    .Output("sums: float")
    .Attr("T: {float, bfloat16}")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) {
      c->set_output(0, c->Vector(c->Dim(c->input(0), 1)));
      return tensorflow::OkStatus();
    });
REGISTER_KERNEL_BUILDER(Name("RecserveColumnSums").Device(tensorflow::DEVICE_CPU).TypeConstraint<float>("T"),
                        ColumnSumsOp<float>);
REGISTER_KERNEL_BUILDER(
    Name("RecserveColumnSums").Device(tensorflow::DEVICE_CPU).TypeConstraint<tensorflow::bfloat16>("T"),
    ColumnSumsOp<tensorflow::bfloat16>);

}  // namespace recserve
