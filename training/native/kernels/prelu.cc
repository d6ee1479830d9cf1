// PReLU and its gradient, one pass each.

#include <algorithm>
#include <vector>

#include "operation.h"
#include "row_slots.h"
#include "tensorflow/core/util/work_sharder.h"
#include "vector.h"

namespace recserve {
namespace {

// Applies `wide` to whole vectors of a row and `tail` to the rest of its columns.
template <typename Wide, typename Tail>
inline void ForColumns(int64_t units, Wide wide, Tail tail) {
  int64_t i = 0;
  for (; i + kLanes <= units; i += kLanes) wide(i);
  for (; i < units; ++i) tail(i);
}

template <typename T>
class PreluOp : public OpKernel {
 public:
  explicit PreluOp(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    const Tensor& x = context->input(0);
    const Tensor& alpha = context->input(1);
    const int64_t units = alpha.NumElements();
    OP_REQUIRES(context, x.dims() > 0 && x.dim_size(x.dims() - 1) == units,
                tensorflow::errors::InvalidArgument("prelu: x ", x.shape().DebugString(), " does not end in ", units));
    Tensor* y;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &y));
    const T* in = x.flat<T>().data();
    const float* a = alpha.flat<float>().data();
    T* out = y->flat<T>().data();
    auto* workers = context->device()->tensorflow_cpu_worker_threads();
    const auto rows = [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T* from = in + row * units;
        T* to = out + row * units;
        ForColumns(
            units,
            [&](int64_t i) {
              const Floats v = Load(from + i);
              Store(v > 0.0f ? v : v * Load(a + i), to + i);
            },
            [&](int64_t i) {
              const float v = static_cast<float>(from[i]);
              to[i] = T(v > 0.0f ? v : v * a[i]);
            });
      }
    };
    tensorflow::Shard(workers->num_threads, workers->workers, x.NumElements() / std::max<int64_t>(units, 1), units, rows);
  }
};

template <typename T>
class PreluGradientOp : public OpKernel {
 public:
  explicit PreluGradientOp(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    const Tensor& x = context->input(0);
    const Tensor& alpha = context->input(1);
    const int64_t units = alpha.NumElements();
    Tensor *x_gradient, *alpha_gradient;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &x_gradient));
    OP_REQUIRES_OK(context, context->allocate_output(1, alpha.shape(), &alpha_gradient));
    const T* in = x.flat<T>().data();
    const T* gradient = context->input(2).flat<T>().data();
    const float* a = alpha.flat<float>().data();
    T* out = x_gradient->flat<T>().data();
    const int64_t rows = x.NumElements() / std::max<int64_t>(units, 1);
    AddInParallel(context, rows, units, alpha_gradient->flat<float>().data(),
                  [&](int64_t begin, int64_t end, float* sums) {
                    for (int64_t row = begin; row < end; ++row) {
                      const T *from = in + row * units, *g = gradient + row * units;
                      T* to = out + row * units;
                      ForColumns(
                          units,
                          [&](int64_t i) {
                            const Floats v = Load(from + i), d = Load(g + i);
                            Store(v > 0.0f ? d : d * Load(a + i), to + i);
                            Store(Load(sums + i) + (v > 0.0f ? Floats{} : d * v), sums + i);
                          },
                          [&](int64_t i) {
                            const float v = static_cast<float>(from[i]), d = static_cast<float>(g[i]);
                            to[i] = T(v > 0.0f ? d : d * a[i]);
                            if (!(v > 0.0f)) sums[i] += d * v;
                          });
                    }
                  });
  }
};

}  // namespace

REGISTER_OP("RecservePrelu")
    .Input("x: T")
    .Input("alpha: float")
    .Output("y: T")
    .Attr("T: {float, bfloat16}")
    .SetShapeFn(tensorflow::shape_inference::UnchangedShape);
REGISTER_OP("RecservePreluGradient")
    .Input("x: T")
    .Input("alpha: float")
    .Input("gradient: T")
    .Output("x_gradient: T")
    .Output("alpha_gradient: float")
    .Attr("T: {float, bfloat16}")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) {
      c->set_output(0, c->input(0));
      c->set_output(1, c->input(1));
      return tensorflow::OkStatus();
    });

RECSERVE_REGISTER_CPU("RecservePrelu", PreluOp);
RECSERVE_REGISTER_CPU("RecservePreluGradient", PreluGradientOp);

}  // namespace recserve
