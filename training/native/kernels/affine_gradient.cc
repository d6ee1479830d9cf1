// The gradients of y = x·W + b in one pass over the rows; see native/affine.py.

#include <algorithm>
#include <vector>

#include "blocks.h"
#include "gemm.h"
#include "operation.h"
#include "vector.h"

namespace recserve {
namespace {

// x [N, in], kernel [in, out] float, upstream [N, out] -> upstream·Wᵀ [N, in], xᵀ·upstream [in, out] and Σ upstream [out] float.
template <typename T>
class AffineGradientOp : public OpKernel {
 public:
  using E = typename ElementOf<T>::type;

  explicit AffineGradientOp(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &kernel = context->input(1), &upstream = context->input(2);
    OP_REQUIRES(context,
                x.dims() == 2 && kernel.dims() == 2 && upstream.dims() == 2 && x.dim_size(0) == upstream.dim_size(0) &&
                    x.dim_size(1) == kernel.dim_size(0) && upstream.dim_size(1) == kernel.dim_size(1),
                tensorflow::errors::InvalidArgument("affine gradient: shapes do not fit: x ", x.shape().DebugString(),
                                                    ", kernel ", kernel.shape().DebugString(), ", upstream ",
                                                    upstream.shape().DebugString()));
    Tensor *x_gradient, *kernel_gradient, *bias_gradient;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &x_gradient));
    OP_REQUIRES_OK(context, context->allocate_output(1, kernel.shape(), &kernel_gradient));
    OP_REQUIRES_OK(context, context->allocate_output(2, {kernel.dim_size(1)}, &bias_gradient));
    const int64_t rows = x.dim_size(0), inputs = kernel.dim_size(0), outputs = kernel.dim_size(1);
    const std::vector<E> back = PackedRight<E>(kernel.flat<float>().data(), outputs, inputs, 1, outputs);
    const int64_t shards = ShardsOf(context, rows);
    std::vector<Sums> sums(shards);
    ForEachShard(context, rows, shards, [&](int64_t begin, int64_t end, int64_t shard) {
      Pass pass{x.flat<T>().data(), upstream.flat<T>().data(), x_gradient->flat<T>().data(), inputs, outputs, &sums[shard]};
      pass.Run(back, begin, end);
    });
    AddShards(sums, &Sums::kernel, inputs, outputs, kernel_gradient->flat<float>().data());
    AddShards(sums, &Sums::bias, 1, outputs, bias_gradient->flat<float>().data());
  }

 private:
  struct Sums {
    std::vector<float> kernel, bias;  // columns padded
  };

  struct Pass {
    const T *x, *upstream;
    T* x_gradient;
    int64_t inputs, outputs;
    Sums* sums;

    void Run(const std::vector<E>& back, int64_t begin, int64_t end) {
      const int64_t in_padded = PaddedColumns(inputs), out_padded = PaddedColumns(outputs), k = ElementsOf<E>(outputs);
      sums->kernel.assign(inputs * out_padded, 0.0f);
      sums->bias.assign(out_padded, 0.0f);
      const std::vector<E> ones(ElementsOf<E>(kBlockRows), Elements<E>::Make(1.0f, 1.0f));
      std::vector<float> product(kBlockRows * in_padded);
      std::vector<E> left(kBlockRows * k), across(kBlockRows * in_padded), below(kBlockRows * out_padded);
      for (int64_t block = begin; block < end; block += kBlockRows) {
        const int64_t count = std::min(kBlockRows, end - block);
        PackLeft(upstream + block * outputs, count, outputs, outputs, left.data());
        Multiply<E>(count, in_padded, k, {left.data(), k, 1}, back.data(), in_padded, product.data(), in_padded, false);
        PackAcross([&](int64_t row) { return x + (block + row) * inputs; }, count, inputs, across.data());
        PackAcross([&](int64_t row) { return upstream + (block + row) * outputs; }, count, outputs, below.data());
        Multiply<E>(inputs, out_padded, ElementsOf<E>(count), {across.data(), 1, in_padded}, below.data(), out_padded,
                    sums->kernel.data(), out_padded, true);
        Multiply<E>(1, out_padded, ElementsOf<E>(count), {ones.data(), 0, 1}, below.data(), out_padded, sums->bias.data(),
                    out_padded, true);
        for (int64_t row = 0; row < count; ++row) {
          WriteRow(product.data() + row * in_padded, x_gradient + (block + row) * inputs);
        }
      }
    }

    void WriteRow(const float* from, T* to) const {
      int64_t i = 0;
      for (; i + kLanes <= inputs; i += kLanes) Store(Load(from + i), to + i);
      for (; i < inputs; ++i) to[i] = T(from[i]);
    }
  };
};

}  // namespace

REGISTER_OP("RecserveAffineGradient")
    .Input("x: T")
    .Input("kernel: float")
    .Input("upstream: T")
    .Output("x_gradient: T")
    .Output("kernel_gradient: float")
    .Output("bias_gradient: float")
    .Attr("T: {float, bfloat16}")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) {
      c->set_output(0, c->input(0));
      c->set_output(1, c->input(1));
      c->set_output(2, c->Vector(c->Dim(c->input(1), 1)));
      return tensorflow::OkStatus();
    });

RECSERVE_REGISTER_CPU("RecserveAffineGradient", AffineGradientOp);

}  // namespace recserve
