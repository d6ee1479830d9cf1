// DIN's activation unit with two hidden layers of sigmoids, over all steps of a history; see layers/activation_unit.py.
//
// x₁ = σ(item part + target part + (i∘t)·W_p), x₂ = σ(x₁·W₂ + b₂), score = x₂·w₃. The item part comes once per run of rows
// with the same history, the target part once per row. Padded steps are left out and score 0.

#include <algorithm>
#include <vector>

#include "activation_unit_block.h"
#include "blocks.h"
#include "gemm.h"
#include "operation.h"
#include "vector.h"

namespace recserve {
namespace {

template <typename T>
class ActivationUnitOp : public OpKernel {
 public:
  explicit ActivationUnitOp(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    using E = typename ElementOf<T>::type;
    const ActivationUnitInputs<T> in(context);
    OP_REQUIRES(context, in.width % kLanes == 0 && in.first % kLanes == 0 && in.second > 0,
                tensorflow::errors::InvalidArgument("activation unit: widths ", in.width, ", ", in.first, ", ", in.second,
                                                    " must be a multiple of 16, a multiple of 16 and any"));
    OP_REQUIRES(context, context->input(9).shape() == TensorShape({in.rows, in.steps}),
                tensorflow::errors::InvalidArgument("activation unit: mask must be [B, S]"));
    OP_REQUIRES(context, AreRuns(in.run_of_row, in.rows, in.runs),
                tensorflow::errors::InvalidArgument("activation unit: run_of_row must ascend within the runs of items"));
    Tensor* scores;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({in.rows, in.steps}), &scores));
    float* out = scores->flat<float>().data();
    std::fill(out, out + in.rows * in.steps, 0.0f);
    if (in.rows == 0) return;
    const std::vector<E> w_product = PackedRight<E>(in.w_product, in.width, in.first, in.first, 1);
    const std::vector<E> w_hidden = PackedRight<E>(in.w_hidden, in.first, in.second, in.second, 1);
    const std::vector<float> w_head = Padded(in.w_head, in.second);
    ForEachShard(context, in.run_of_row, in.rows, ShardsOf(context, in.rows), [&](int64_t begin, int64_t end, int64_t) {
      ActivationUnitBlock<T> block(in);
      block.ForEach(begin, end, [&] {
        block.Forward(w_product, w_hidden);
        for (int64_t n = 0; n < block.count(); ++n) {
          const float* x = block.x2.data() + n * block.second_padded_;
          Floats score{};
          for (int64_t i = 0; i < block.second_padded_; i += kLanes) score += Load(x + i) * Load(w_head.data() + i);
          out[block.places[n].row * in.steps + block.places[n].step] = Sum(score);
        }
      });
    });
  }
};

template <typename T>
class ActivationUnitGradientOp : public OpKernel {
 public:
  explicit ActivationUnitGradientOp(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    using E = typename ElementOf<T>::type;
    const ActivationUnitInputs<T> in(context);
    const float* scores_gradient = context->input(10).flat<float>().data();
    Tensor* outputs[8];
    for (int i = 0; i < 8; ++i) {
      OP_REQUIRES_OK(context, context->allocate_output(i, context->input(i).shape(), &outputs[i]));
    }
    Gradients to{outputs[0]->flat<T>().data(), outputs[1]->flat<T>().data(), outputs[2]->flat<T>().data(),
                 outputs[3]->flat<T>().data()};
    for (int i = 4; i < 8; ++i) {
      float* sums = outputs[i]->flat<float>().data();
      std::fill(sums, sums + outputs[i]->NumElements(), 0.0f);
    }
    if (in.rows == 0) {
      ClearRuns(in, to, 0, in.runs);
      return;
    }
    const Weights<E> weights{PackedRight<E>(in.w_product, in.width, in.first, in.first, 1),
                             PackedRight<E>(in.w_hidden, in.first, in.second, in.second, 1),
                             PackedRight<E>(in.w_product, in.first, in.width, 1, in.first),
                             PackedRight<E>(in.w_hidden, in.second, in.first, 1, in.second)};
    const int64_t shards = ShardsOf(context, in.rows);
    std::vector<Sums> sums(shards);
    ForEachShard(context, in.run_of_row, in.rows, shards, [&](int64_t begin, int64_t end, int64_t shard) {
      Clear(in, to, begin, end);
      Backward(in, weights, scores_gradient, begin, end, to, &sums[shard]);
    });
    AddShards(sums, &Sums::product, in.width, in.first, outputs[4]->flat<float>().data());
    AddShards(sums, &Sums::hidden, in.first, in.second, outputs[5]->flat<float>().data());
    AddShards(sums, &Sums::bias, 1, in.second, outputs[6]->flat<float>().data());
    AddShards(sums, &Sums::head, 1, in.second, outputs[7]->flat<float>().data());
  }

 private:
  struct Gradients {
    T *items, *item_part, *target, *target_part;
  };

  template <typename E>
  struct Weights {
    std::vector<E> product, hidden, product_back, hidden_back;
  };

  // One thread's sums of the weights' gradients, columns padded.
  struct Sums {
    std::vector<float> product, hidden, bias, head;
  };

  // Of rows [begin, end), their runs and the runs without rows before them, and behind the last row.
  static void Clear(const ActivationUnitInputs<T>& in, Gradients to, int64_t begin, int64_t end) {
    if (begin == end) return;
    std::fill(to.target + begin * in.width, to.target + end * in.width, T(0));
    std::fill(to.target_part + begin * in.first, to.target_part + end * in.first, T(0));
    ClearRuns(in, to, begin == 0 ? 0 : in.run_of_row[begin - 1] + 1, end == in.rows ? in.runs : in.run_of_row[end - 1] + 1);
  }

  static void ClearRuns(const ActivationUnitInputs<T>& in, Gradients to, int64_t begin, int64_t end) {
    std::fill(to.items + begin * in.steps * in.width, to.items + end * in.steps * in.width, T(0));
    std::fill(to.item_part + begin * in.steps * in.first, to.item_part + end * in.steps * in.first, T(0));
  }

  template <typename E>
  static void Backward(const ActivationUnitInputs<T>& in, const Weights<E>& weights, const float* scores_gradient, int64_t begin,
                       int64_t end, Gradients to, Sums* sums) {
    ActivationUnitBlock<T> block(in);
    const int64_t first = block.first_padded_, second = block.second_padded_, wide = PaddedColumns(in.width);
    sums->product.assign(in.width * first, 0.0f);
    sums->hidden.assign(in.first * second, 0.0f);
    sums->bias.assign(second, 0.0f);
    sums->head.assign(second, 0.0f);
    const std::vector<float> w_head = Padded(in.w_head, in.second);
    std::vector<float> d2(kBlockSteps * second), d1(kBlockSteps * first), product(kBlockSteps * wide);
    const int64_t across_rows = ElementsOf<E>(kBlockSteps);
    std::vector<E> across(across_rows * std::max(wide, first)), below(across_rows * std::max(first, second));
    block.ForEach(begin, end, [&] {
      block.Forward(weights.product, weights.hidden);
      const int64_t count = block.count(), row_elements = ElementsOf<E>(count);
      for (int64_t n = 0; n < count; ++n) {
        const float gradient = scores_gradient[block.places[n].row * in.steps + block.places[n].step];
        const float* x = block.x2.data() + n * second;
        float* d = d2.data() + n * second;
        for (int64_t i = 0; i < second; i += kLanes) {
          const Floats unit = Load(x + i), scaled = gradient * unit;
          const Floats value = scaled * Load(w_head.data() + i) * (1.0f - unit);
          Store(value, d + i);
          Accumulate(scaled, sums->head.data() + i);
          Accumulate(value, sums->bias.data() + i);
        }
      }
      PackAlongRows(block.x1.data(), count, first, across.data());
      PackAlongRows(d2.data(), count, second, below.data());
      Multiply<E>(in.first, second, row_elements, {across.data(), 1, first}, below.data(), second, sums->hidden.data(),
                  second, true);
      block.Product(d2.data(), in.second, second, weights.hidden_back, first, d1.data());
      for (int64_t n = 0; n < count; ++n) {
        const float* x = block.x1.data() + n * first;
        float* d = d1.data() + n * first;
        T* item_part = to.item_part + block.AtRun(block.places[n]) * in.first;
        T* target_part = to.target_part + block.places[n].row * in.first;
        for (int64_t i = 0; i < in.first; i += kLanes) {
          const Floats value = Load(d + i) * Load(x + i) * (1.0f - Load(x + i));
          Store(value, d + i);
          Accumulate(value, item_part + i);
          Accumulate(value, target_part + i);
        }
      }
      PackAlongRows(block.product.data(), count, in.width, across.data());
      PackAlongRows(d1.data(), count, first, below.data());
      Multiply<E>(in.width, first, row_elements, {across.data(), 1, in.width}, below.data(), first,
                  sums->product.data(), first, true);
      block.Product(d1.data(), in.first, first, weights.product_back, wide, product.data());
      for (int64_t n = 0; n < count; ++n) {
        const int64_t at = block.AtRun(block.places[n]) * in.width, row = block.places[n].row * in.width;
        const float* d = product.data() + n * wide;
        for (int64_t i = 0; i < in.width; i += kLanes) {
          Accumulate(Load(d + i) * Load(in.target + row + i), to.items + at + i);
          Accumulate(Load(d + i) * Load(in.items + at + i), to.target + row + i);
        }
      }
    });
  }
};

}  // namespace

REGISTER_OP("RecserveActivationUnit")
    .Input("items: T")
    .Input("item_part: T")
    .Input("target: T")
    .Input("target_part: T")
    .Input("w_product: float")
    .Input("w_hidden: float")
    .Input("b_hidden: float")
    .Input("w_head: float")
    .Input("run_of_row: int32")
    .Input("mask: bool")
    .Output("scores: float")
    .Attr("T: {float, bfloat16}")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) {
      c->set_output(0, c->input(9));
      return tensorflow::OkStatus();
    });
REGISTER_OP("RecserveActivationUnitGradient")
    .Input("items: T")
    .Input("item_part: T")
    .Input("target: T")
    .Input("target_part: T")
    .Input("w_product: float")
    .Input("w_hidden: float")
    .Input("b_hidden: float")
    .Input("w_head: float")
    .Input("run_of_row: int32")
    .Input("mask: bool")
    .Input("scores_gradient: float")
    .Output("items_gradient: T")
    .Output("item_part_gradient: T")
    .Output("target_gradient: T")
    .Output("target_part_gradient: T")
    .Output("w_product_gradient: float")
    .Output("w_hidden_gradient: float")
    .Output("b_hidden_gradient: float")
    .Output("w_head_gradient: float")
    .Attr("T: {float, bfloat16}")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) {
      for (int i = 0; i < 8; ++i) c->set_output(i, c->input(i));
      return tensorflow::OkStatus();
    });

RECSERVE_REGISTER_CPU("RecserveActivationUnit", ActivationUnitOp);
RECSERVE_REGISTER_CPU("RecserveActivationUnitGradient", ActivationUnitGradientOp);

}  // namespace recserve
