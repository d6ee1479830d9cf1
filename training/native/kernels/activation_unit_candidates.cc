// The activation unit's scores of many rows with one history, a user's candidates; see activation_unit.cc. Not for training.
//
// The target meets a step's item i in t·(diag(i)·W_p + W_t): one matrix for all rows, made once, in place of i∘t of each
// row, and the target's own part comes with it.

#include <algorithm>
#include <vector>

#include "blocks.h"
#include "gemm.h"
#include "operation.h"
#include "vector.h"

namespace recserve {
namespace {

template <typename T>
class ActivationUnitOfCandidatesOp : public OpKernel {
 public:
  explicit ActivationUnitOfCandidatesOp(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    const Tensor &items = context->input(0), &item_part = context->input(1), &target = context->input(2);
    const Tensor &w_product = context->input(3), &w_target = context->input(4), &w_hidden = context->input(5);
    const Tensor &b_hidden = context->input(6), &w_head = context->input(7);
    const Tensor &run_of_row = context->input(8), &mask = context->input(9);
    OP_REQUIRES(context, items.dims() == 3 && target.dims() == 2 && w_product.dims() == 2 && w_hidden.dims() == 2,
                tensorflow::errors::InvalidArgument("activation unit of candidates: expected items [U, S, H], target [B, H]"));
    const int64_t runs = items.dim_size(0), steps = items.dim_size(1), rows = target.dim_size(0);
    const int64_t width = target.dim_size(1), first = w_product.dim_size(1), second = w_hidden.dim_size(1);
    OP_REQUIRES(context,
                width % kLanes == 0 && first % kLanes == 0 && second > 0 && items.dim_size(2) == width &&
                    item_part.shape() == TensorShape({runs, steps, first}) && w_product.dim_size(0) == width &&
                    w_target.shape() == w_product.shape() && w_hidden.dim_size(0) == first && b_hidden.NumElements() == second &&
                    w_head.NumElements() == second && mask.shape() == TensorShape({rows, steps}) &&
                    run_of_row.NumElements() == rows,
                tensorflow::errors::InvalidArgument("activation unit of candidates: shapes do not fit: items ",
                                                    items.shape().DebugString(), ", target ", target.shape().DebugString(),
                                                    "; widths ", width, " and ", first, " must be multiples of 16"));
    const int32_t* run = run_of_row.flat<int32_t>().data();
    OP_REQUIRES(context, AreRuns(run, rows, runs),
                tensorflow::errors::InvalidArgument("activation unit of candidates: run_of_row must ascend within items"));
    Tensor* scores;
    OP_REQUIRES_OK(context, context->allocate_output(0, mask.shape(), &scores));
    std::fill_n(scores->flat<float>().data(), rows * steps, 0.0f);
    if (rows == 0) return;
    const Inputs in{items.flat<T>().data(),
                    item_part.flat<T>().data(),
                    target.flat<T>().data(),
                    w_product.flat<float>().data(),
                    w_target.flat<float>().data(),
                    PackedRight<E>(w_hidden.flat<float>().data(), first, second, second, 1),
                    Padded(b_hidden.flat<float>().data(), second),
                    Padded(w_head.flat<float>().data(), second),
                    mask.flat<bool>().data(),
                    scores->flat<float>().data(),
                    steps,
                    width,
                    first};
    ForEachShard(context, rows, ShardsOf(context, rows), [&](int64_t begin, int64_t end, int64_t) {
      while (begin < end) {
        const int64_t run_end = std::upper_bound(run + begin, run + end, run[begin]) - run;
        for (int64_t step = 0; step < steps; ++step) ScoreStep(in, run[begin] * steps + step, step, begin, run_end);
        begin = run_end;
      }
    });
  }

 private:
  using E = typename ElementOf<T>::type;

  struct Inputs {
    const T *items, *item_part, *target;
    const float *w_product, *w_target;
    std::vector<E> w_hidden;
    std::vector<float> b_hidden, w_head;  // whole registers
    const bool* mask;
    float* scores;
    int64_t steps, width, first;
  };

  // Of rows [begin, end), whose run has its items and their part of this step at `item`.
  static void ScoreStep(const Inputs& in, int64_t item, int64_t step, int64_t begin, int64_t end) {
    const auto is_real = [&](int64_t row) { return in.mask[row * in.steps + step]; };
    while (begin < end && !is_real(begin)) ++begin;
    while (begin < end && !is_real(end - 1)) --end;
    if (begin == end) return;
    const std::vector<E> kernel = Kernel(in, in.items + item * in.width);
    const int64_t second = in.b_hidden.size(), elements = ElementsOf<E>(in.width), hidden_elements = ElementsOf<E>(in.first);
    const T* item_part = in.item_part + item * in.first;
    std::vector<float> sums(kBlockRows * std::max(in.first, second));
    std::vector<T> x(kBlockRows * in.first);
    for (int64_t block = begin; block < end; block += kBlockRows) {
      const int64_t count = std::min(kBlockRows, end - block);
      const E* targets = reinterpret_cast<const E*>(in.target + block * in.width);  // rows are elements as they are
      Multiply<E>(count, in.first, elements, {targets, elements, 1}, kernel.data(), in.first, sums.data(), in.first, false);
      for (int64_t row = 0; row < count; ++row) {
        const int64_t at = row * in.first;
        for (int64_t i = 0; i < in.first; i += kLanes) {
          Store(Sigmoid<T>(Load(sums.data() + at + i) + Load(item_part + i)), x.data() + at + i);
        }
      }
      const E* left = reinterpret_cast<const E*>(x.data());
      Multiply<E>(count, second, hidden_elements, {left, hidden_elements, 1}, in.w_hidden.data(), second, sums.data(), second,
                  false);
      for (int64_t row = 0; row < count; ++row) {
        Floats score{};
        for (int64_t i = 0; i < second; i += kLanes) {
          score += Sigmoid<T>(Load(sums.data() + row * second + i) + Load(in.b_hidden.data() + i)) * Load(in.w_head.data() + i);
        }
        if (is_real(block + row)) in.scores[(block + row) * in.steps + step] = Sum(score);
      }
    }
  }

  // diag(i)·W_p + W_t as the right side of a product.
  static std::vector<E> Kernel(const Inputs& in, const T* item) {
    std::vector<float> sums(in.width * in.first);
    for (int64_t k = 0; k < in.width; ++k) {
      const float factor = static_cast<float>(item[k]);
      for (int64_t i = k * in.first; i < (k + 1) * in.first; i += kLanes) {
        Store(factor * Load(in.w_product + i) + Load(in.w_target + i), sums.data() + i);
      }
    }
    std::vector<E> packed(ElementsOf<E>(in.width) * in.first);
    PackAlongRows(sums.data(), in.width, in.first, packed.data());
    return packed;
  }
};

}  // namespace

REGISTER_OP("RecserveActivationUnitOfCandidates")
    .Input("items: T")
    .Input("item_part: T")
    .Input("target: T")
    .Input("w_product: float")
    .Input("w_target: float")
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

RECSERVE_REGISTER_CPU("RecserveActivationUnitOfCandidates", ActivationUnitOfCandidatesOp);

}  // namespace recserve
