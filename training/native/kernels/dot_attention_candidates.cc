// dot_attention.cc for many rows with one history, a user's candidates: matrix products of a block of rows in place of each
// row's walk through its items. Not for training.

#include <algorithm>
#include <vector>

#include "blocks.h"
#include "gemm.h"
#include "operation.h"
#include "step_weights.h"
#include "vector.h"

namespace recserve {
namespace {

// The real steps of a run's history, packed for both products: scores = query · items', sum = weights · items.
template <typename T>
struct RunItems {
  using E = typename ElementOf<T>::type;

  RunItems(const T* vectors, const bool* real, const float* of_bias, int64_t steps, int64_t width) {
    std::vector<float> items;
    for (int64_t step = 0; step < steps; ++step) {
      if (!real[step]) continue;
      for (int64_t i = 0; i < width; ++i) items.push_back(static_cast<float>(vectors[step * width + i]));
      bias.push_back(of_bias == nullptr ? 0.0f : of_bias[step]);
    }
    count = bias.size();
    bias.resize(PaddedColumns(count));
    for_scores = PackedRight<E>(items.data(), width, count, 1, width);
    for_sums = PackedRight<E>(items.data(), count, width, width, 1);
  }

  int64_t count;
  std::vector<float> bias;  // whole registers
  std::vector<E> for_scores, for_sums;
};

template <typename T>
class DotAttentionOfCandidatesOp : public OpKernel {
 public:
  explicit DotAttentionOfCandidatesOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("k", &k_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &query = context->input(0), &vectors = context->input(1), &bias = context->input(2);
    const Tensor &run_of_row = context->input(3), &mask = context->input(4);
    OP_REQUIRES(context, query.dims() == 2 && vectors.dims() == 3,
                tensorflow::errors::InvalidArgument("dot attention of candidates: expected query [B, D], vectors [U, L, D]"));
    const int64_t rows = query.dim_size(0), width = query.dim_size(1), steps = vectors.dim_size(1);
    OP_REQUIRES(context,
                vectors.dim_size(2) == width && mask.shape() == TensorShape({rows, steps}) && run_of_row.NumElements() == rows &&
                    (bias.NumElements() == 0 || bias.NumElements() == steps),
                tensorflow::errors::InvalidArgument("dot attention of candidates: shapes do not fit: query ",
                                                    query.shape().DebugString(), ", vectors ", vectors.shape().DebugString(),
                                                    ", mask ", mask.shape().DebugString(), ", bias ", bias.shape().DebugString()));
    const int32_t* run = run_of_row.flat<int32_t>().data();
    const bool* real = mask.flat<bool>().data();
    OP_REQUIRES(context, AreRuns(run, rows, vectors.dim_size(0)) && MasksAgree(run, real, rows, steps),
                tensorflow::errors::InvalidArgument("dot attention of candidates: the rows of a run follow one another and have "
                                                    "one mask"));
    Tensor* pooled;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({1 + (k_ > 0), rows, width}), &pooled));
    if (rows == 0) return;
    const T *of_query = query.flat<T>().data(), *items = vectors.flat<T>().data();
    const float* of_bias = bias.NumElements() == 0 ? nullptr : bias.flat<float>().data();
    T* attended = pooled->flat<T>().data();
    ForEachShard(context, rows, ShardsOf(context, rows), [&](int64_t begin, int64_t end, int64_t) {
      while (begin < end) {
        const int64_t run_end = std::upper_bound(run + begin, run + end, run[begin]) - run;
        const RunItems<T> of_run(items + run[begin] * steps * width, real + begin * steps, of_bias, steps, width);
        AttendRows(of_run, of_query + begin * width, run_end - begin, width, attended + begin * width,
                   k_ > 0 ? attended + (rows + begin) * width : nullptr);
        begin = run_end;
      }
    });
  }

 private:
  using E = typename ElementOf<T>::type;

  static bool MasksAgree(const int32_t* run, const bool* real, int64_t rows, int64_t steps) {
    bool agree = true;
    for (int64_t row = 1; row < rows; ++row) {
      const bool* here = real + row * steps;
      agree &= run[row] != run[row - 1] || std::equal(here, here + steps, here - steps);
    }
    return agree;
  }

  // query [rows, width] -> attended and, if not null, the selected items' average, both [rows, width].
  void AttendRows(const RunItems<T>& items, const T* query, int64_t rows, int64_t width, T* attended, T* average) const {
    const int64_t stride = items.bias.size(), columns = PaddedColumns(width);
    const int64_t elements = ElementsOf<E>(width), step_elements = ElementsOf<E>(items.count);
    std::vector<float> weights(kBlockRows * stride), chosen(kBlockRows * stride), sums(kBlockRows * columns);
    std::vector<int32_t> keys(stride);
    std::vector<E> left(kBlockRows * std::max(elements, step_elements));
    const float share = 1.0f / static_cast<float>(std::max<int64_t>(std::min(k_, items.count), 1));
    const auto write_sums = [&](const std::vector<float>& from, int64_t count, float scale, T* to) {
      PackLeft(from.data(), count, items.count, stride, left.data());
      Multiply<E>(count, columns, step_elements, {left.data(), step_elements, 1}, items.for_sums.data(), columns, sums.data(),
                  columns, false);
      for (int64_t row = 0; row < count; ++row) {
        for (int64_t i = 0; i < width; ++i) to[row * width + i] = T(scale * sums[row * columns + i]);
      }
    };
    for (int64_t block = 0; block < rows; block += kBlockRows) {
      const int64_t count = std::min(kBlockRows, rows - block);
      PackLeft(query + block * width, count, width, width, left.data());
      Multiply<E>(count, stride, elements, {left.data(), elements, 1}, items.for_scores.data(), stride, weights.data(), stride,
                  false);
      for (int64_t row = 0; row < count; ++row) {
        float *score = weights.data() + row * stride, *is_chosen = chosen.data() + row * stride;
        if (k_ > 0) {
          ChooseHighest(items.count, k_, score, keys.data(), is_chosen);
        } else {
          std::fill_n(is_chosen, items.count, 1.0f);
        }
        for (int64_t i = 0; i < stride; i += kLanes) {
          const Floats logit = Load(score + i) + Load(items.bias.data() + i);
          const Floats kept = logit < kLowestScore / 2 ? Splat(kLowestScore / 2) : logit;  // above what was not chosen
          Store(Load(is_chosen + i) > 0.0f ? kept : Splat(kLowestScore), score + i);
        }
        Softmax(items.count, score);
      }
      write_sums(weights, count, 1.0f, attended + block * width);
      if (average != nullptr) write_sums(chosen, count, share, average + block * width);
    }
  }

  int64_t k_;
};

}  // namespace

REGISTER_OP("RecserveDotAttentionOfCandidates")
    .Input("query: T")
    .Input("vectors: T")
    .Input("bias: float")
    .Input("run_of_row: int32")
    .Input("mask: bool")
    .Output("pooled: T")
    .Attr("T: {float, bfloat16}")
    .Attr("k: int >= 0")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) {
      int64_t k;
      TF_RETURN_IF_ERROR(c->GetAttr("k", &k));
      c->set_output(0, c->MakeShape({1 + (k > 0), c->Dim(c->input(0), 0), c->Dim(c->input(0), 1)}));
      return tensorflow::OkStatus();
    });

RECSERVE_REGISTER_CPU("RecserveDotAttentionOfCandidates", DotAttentionOfCandidatesOp);

}  // namespace recserve
