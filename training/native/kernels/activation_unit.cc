// DIN's activation unit with two hidden layers of sigmoids, over all steps of a history; see layers/activation_unit.py.
//
// x₁ = σ(item part + target part + (i∘t)·W_p), x₂ = σ(x₁·W₂ + b₂), score = x₂·w₃. The item part comes once per run of rows
// with the same history, the target part once per row. Padded steps are left out and score 0.

#include <algorithm>
#include <vector>

#include "blocks.h"
#include "gemm.h"
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
using tensorflow::TensorShape;

constexpr int64_t kBlockSteps = 64;

// The inputs that both passes have: items [U, S, H], item_part [U, S, M], target [B, H], target_part [B, M], w_product
// [H, M], w_hidden [M, N], b_hidden [N], w_head [N], run_of_row [B], mask [B, S]. H, M and N in multiples of 8: the
// products are padded, the rest goes by whole registers where it can.
template <typename T>
struct Inputs {
  explicit Inputs(OpKernelContext* context)
      : items(context->input(0).flat<T>().data()),
        item_part(context->input(1).flat<T>().data()),
        target(context->input(2).flat<T>().data()),
        target_part(context->input(3).flat<T>().data()),
        w_product(context->input(4).flat<float>().data()),
        w_hidden(context->input(5).flat<float>().data()),
        b_hidden(context->input(6).flat<float>().data()),
        w_head(context->input(7).flat<float>().data()),
        run_of_row(context->input(8).flat<int32_t>().data()),
        mask(context->input(9).flat<bool>().data()),
        runs(context->input(0).dim_size(0)),
        rows(context->input(2).dim_size(0)),
        steps(context->input(0).dim_size(1)),
        width(context->input(2).dim_size(1)),
        first(context->input(4).dim_size(1)),
        second(context->input(5).dim_size(1)) {}

  const T *items, *item_part, *target, *target_part;
  const float *w_product, *w_hidden, *b_hidden, *w_head;
  const int32_t* run_of_row;
  const bool* mask;
  int64_t runs, rows, steps, width, first, second;
};

// A step of a row that is real.
struct Place {
  int64_t row;
  int64_t step;
};

// One thread's buffers for a block of real steps.
template <typename T>
class Block {
 public:
  using E = typename ElementOf<T>::type;

  explicit Block(const Inputs<T>& in)
      : in_(in),
        first_padded_(PaddedColumns(in.first)),
        second_padded_(PaddedColumns(in.second)),
        product(kBlockSteps * in.width),
        x1(kBlockSteps * first_padded_),
        x2(kBlockSteps * second_padded_),
        left_(kBlockSteps * ElementsOf<E>(std::max(in.width, std::max(first_padded_, second_padded_)))) {
    places.reserve(kBlockSteps);
  }

  const Inputs<T>& in_;
  const int64_t first_padded_, second_padded_;
  std::vector<Place> places;
  std::vector<float> product;  // i∘t
  std::vector<float> x1, x2;

  // Calls `done` with each full block of the real steps of rows [begin, end), and with the rest.
  template <typename Done>
  void ForEach(int64_t begin, int64_t end, Done done) {
    places.clear();
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t step = 0; step < in_.steps; ++step) {
        if (!in_.mask[row * in_.steps + step]) continue;
        places.push_back({row, step});
        if (static_cast<int64_t>(places.size()) == kBlockSteps) {
          done();
          places.clear();
        }
      }
    }
    if (!places.empty()) done();
  }

  int64_t count() const { return static_cast<int64_t>(places.size()); }

  int64_t AtRun(const Place& place) const { return in_.run_of_row[place.row] * in_.steps + place.step; }

  // Fills product, x1 and x2.
  void Forward(const std::vector<E>& w_product, const std::vector<E>& w_hidden) {
    for (int64_t n = 0; n < count(); ++n) {
      const T* item = in_.items + AtRun(places[n]) * in_.width;
      const T* target = in_.target + places[n].row * in_.width;
      float* to = product.data() + n * in_.width;
      for (int64_t i = 0; i < in_.width; i += kLanes) Store(Load(item + i) * Load(target + i), to + i);
    }
    Product(product.data(), in_.width, in_.width, w_product, first_padded_, x1.data());
    for (int64_t n = 0; n < count(); ++n) {
      const T* item_part = in_.item_part + AtRun(places[n]) * in_.first;
      const T* target_part = in_.target_part + places[n].row * in_.first;
      float* x = x1.data() + n * first_padded_;
      for (int64_t i = 0; i < in_.first; i += kLanes) {
        Store(Sigmoid(Load(x + i) + Load(item_part + i) + Load(target_part + i)), x + i);
      }
    }
    Product(x1.data(), in_.first, first_padded_, w_hidden, second_padded_, x2.data());
    for (int64_t n = 0; n < count(); ++n) {
      float* x = x2.data() + n * second_padded_;
      for (int64_t i = 0; i < in_.second; i += 8) Half(x + i, in_.b_hidden + i);
    }
  }

  // to [count, columns] = from [count, k] · weights.
  void Product(const float* from, int64_t k, int64_t stride, const std::vector<E>& weights, int64_t columns, float* to) {
    PackLeft(from, count(), k, stride, left_.data());
    const int64_t elements = ElementsOf<E>(k);
    Multiply<E>(count(), columns, elements, {left_.data(), elements, 1}, weights.data(), columns, to, columns, false);
  }

 private:
  // Eight at a time: the second layer's width is a multiple of 8 only.
  static void Half(float* x, const float* bias) {
    float both[kLanes] = {};
    for (int i = 0; i < 8; ++i) both[i] = x[i] + bias[i];
    const Floats y = Sigmoid(Load(both));
    for (int i = 0; i < 8; ++i) x[i] = y[i];
  }

  std::vector<E> left_;
};

template <typename T>
class ActivationUnitOp : public OpKernel {
 public:
  explicit ActivationUnitOp(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    using E = typename ElementOf<T>::type;
    const Inputs<T> in(context);
    OP_REQUIRES(context, in.width % kLanes == 0 && in.first % kLanes == 0 && in.second % 8 == 0,
                tensorflow::errors::InvalidArgument("activation unit: widths ", in.width, ", ", in.first, ", ", in.second,
                                                    " must be multiples of 16, 16 and 8"));
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
    ForEachShard(context, in.run_of_row, in.rows, ShardsOf(context, in.rows), [&](int64_t begin, int64_t end, int64_t) {
      Block<T> block(in);
      block.ForEach(begin, end, [&] {
        block.Forward(w_product, w_hidden);
        for (int64_t n = 0; n < block.count(); ++n) {
          const float* x = block.x2.data() + n * block.second_padded_;
          float score = 0.0f;
          for (int64_t i = 0; i < in.second; ++i) score += x[i] * in.w_head[i];
          out[block.places[n].row * in.steps + block.places[n].step] = score;
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
    const Inputs<T> in(context);
    const float* scores_gradient = context->input(10).flat<float>().data();
    Tensor* outputs[8];
    for (int i = 0; i < 8; ++i) {
      OP_REQUIRES_OK(context, context->allocate_output(i, context->input(i).shape(), &outputs[i]));
    }
    Gradients to{outputs[0]->flat<T>().data(), outputs[1]->flat<T>().data(), outputs[2]->flat<T>().data(),
                 outputs[3]->flat<T>().data()};
    std::fill(to.items, to.items + in.runs * in.steps * in.width, T(0));
    std::fill(to.item_part, to.item_part + in.runs * in.steps * in.first, T(0));
    std::fill(to.target, to.target + in.rows * in.width, T(0));
    std::fill(to.target_part, to.target_part + in.rows * in.first, T(0));
    for (int i = 4; i < 8; ++i) {
      float* sums = outputs[i]->flat<float>().data();
      std::fill(sums, sums + outputs[i]->NumElements(), 0.0f);
    }
    if (in.rows == 0) return;
    const Weights<E> weights{PackedRight<E>(in.w_product, in.width, in.first, in.first, 1),
                             PackedRight<E>(in.w_hidden, in.first, in.second, in.second, 1),
                             PackedRight<E>(in.w_product, in.first, in.width, 1, in.first),
                             PackedRight<E>(in.w_hidden, in.second, in.first, 1, in.second)};
    const int64_t shards = ShardsOf(context, in.rows);
    std::vector<Sums> sums(shards);
    ForEachShard(context, in.run_of_row, in.rows, shards, [&](int64_t begin, int64_t end, int64_t shard) {
      Backward(in, weights, scores_gradient, begin, end, to, &sums[shard]);
    });
    const int64_t first = PaddedColumns(in.first), second = PaddedColumns(in.second);
    for (const Sums& sum : sums) {
      if (sum.head.empty()) continue;
      AddColumns(sum.product, in.width, first, in.first, outputs[4]->flat<float>().data());
      AddColumns(sum.hidden, in.first, second, in.second, outputs[5]->flat<float>().data());
      AddColumns(sum.bias, 1, second, in.second, outputs[6]->flat<float>().data());
      AddColumns(sum.head, 1, second, in.second, outputs[7]->flat<float>().data());
    }
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

  static void AddColumns(const std::vector<float>& from, int64_t rows, int64_t stride, int64_t columns, float* to) {
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t i = 0; i < columns; ++i) to[row * columns + i] += from[row * stride + i];
    }
  }

  static void Accumulate(Floats values, T* to) { Store(Load(to) + values, to); }

  template <typename E>
  static void Backward(const Inputs<T>& in, const Weights<E>& weights, const float* scores_gradient, int64_t begin,
                       int64_t end, Gradients to, Sums* sums) {
    Block<T> block(in);
    const int64_t first = block.first_padded_, second = block.second_padded_, wide = PaddedColumns(in.width);
    sums->product.assign(in.width * first, 0.0f);
    sums->hidden.assign(in.first * second, 0.0f);
    sums->bias.assign(second, 0.0f);
    sums->head.assign(second, 0.0f);
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
        for (int64_t i = 0; i < second; ++i) {
          const bool is_unit = i < in.second;
          d[i] = is_unit ? gradient * in.w_head[i] * x[i] * (1.0f - x[i]) : 0.0f;
          sums->head[i] += is_unit ? gradient * x[i] : 0.0f;
          sums->bias[i] += d[i];
        }
      }
      PackAlongRows(block.x1.data(), count, in.first, first, across.data());
      PackAlongRows(d2.data(), count, second, second, below.data());
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
      PackAlongRows(block.product.data(), count, in.width, in.width, across.data());
      PackAlongRows(d1.data(), count, first, first, below.data());
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

REGISTER_KERNEL_BUILDER(Name("RecserveActivationUnit").Device(tensorflow::DEVICE_CPU).TypeConstraint<float>("T"),
                        ActivationUnitOp<float>);
REGISTER_KERNEL_BUILDER(
    Name("RecserveActivationUnit").Device(tensorflow::DEVICE_CPU).TypeConstraint<tensorflow::bfloat16>("T"),
    ActivationUnitOp<tensorflow::bfloat16>);
REGISTER_KERNEL_BUILDER(Name("RecserveActivationUnitGradient").Device(tensorflow::DEVICE_CPU).TypeConstraint<float>("T"),
                        ActivationUnitGradientOp<float>);
REGISTER_KERNEL_BUILDER(
    Name("RecserveActivationUnitGradient").Device(tensorflow::DEVICE_CPU).TypeConstraint<tensorflow::bfloat16>("T"),
    ActivationUnitGradientOp<tensorflow::bfloat16>);

}  // namespace recserve
