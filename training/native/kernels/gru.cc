// GRU and AUGRU over all steps. A block of rows goes through every step while its state and gates are in cache.
//
// h' = h + a·u∘(c − h), u = σ(x_u + h·U_u), r = σ(x_r + h·U_r), c = tanh(x_c + r∘(h·U_c)); see layers/gru.py.

#include <algorithm>
#include <vector>

#include "blocks.h"
#include "gemm.h"
#include "operation.h"
#include "vector.h"

namespace recserve {
namespace {

// Where the inputs and outputs are, see the operation below; outputs that nobody asked for are null.
template <typename T>
struct GruArrays {
  const T *x, *scale;
  const int32_t* run_of_row;
  T *states, *gates, *last;
  int64_t units, steps;
};

// One thread's buffers, and a block of rows taken through all steps.
template <typename T>
class GruBlock {
 public:
  using E = typename ElementOf<T>::type;

  GruBlock(const GruArrays<T>& arrays, const std::vector<E>& recurrent)
      : a_(arrays),
        recurrent_(recurrent),
        width_(PaddedColumns(3 * a_.units)),
        elements_(ElementsOf<E>(a_.units)),
        h_(kBlockRows * a_.units),
        product_(kBlockRows * width_),
        left_(kBlockRows * elements_) {}

  void Run(int64_t first, int64_t count) {
    std::fill(h_.begin(), h_.end(), 0.0f);
    std::fill(product_.begin(), product_.end(), 0.0f);
    bool started = false, has_product = true;  // of h, which is zero at first
    // candidates to be scored; a gradient would need every row's gates
    const bool are_of_one_run =
        a_.gates == nullptr && count > kTileRows && a_.run_of_row[first] == a_.run_of_row[first + count - 1];
    for (int64_t step = 0; step < a_.steps; ++step) {
      bool real = false;
      for (int64_t row = 0; row < count; ++row) real |= Scale(first + row, step) != 0.0f;
      if (real && !started && are_of_one_run) {
        StartTogether(first, count, step);
      } else {
        if (real && !has_product) Multiply(h_.data(), count, product_.data());
        for (int64_t row = 0; row < count; ++row) StepOfRow(first, count, row, step);
        has_product &= !real;
      }
      started |= real;
    }
    for (int64_t i = 0; a_.last != nullptr && i < count * a_.units; i += kLanes) {
      Store(Load(h_.data() + i), a_.last + first * a_.units + i);
    }
  }

 private:
  float Scale(int64_t row, int64_t step) const { return static_cast<float>(a_.scale[row * a_.steps + step]); }

  const T* Input(int64_t row, int64_t step) const { return a_.x + (a_.run_of_row[row] * a_.steps + step) * 3 * a_.units; }

  // to [count, width_] = h [count, H] · U
  void Multiply(const float* h, int64_t count, float* to) {
    PackLeft(h, count, a_.units, a_.units, left_.data());
    recserve::Multiply<E>(count, width_, elements_, {left_.data(), elements_, 1}, recurrent_.data(), width_, to, width_, false);
  }

  // The first step of rows of one run: from zeros each row's state becomes a·v with v = u∘c of the run, and the product of
  // the next step a·(v·U).
  void StartTogether(int64_t first, int64_t count, int64_t step) {
    std::vector<float> v(a_.units), product(width_);
    Step(1.0f, Input(first, step), product.data(), v.data(), nullptr, nullptr);
    Multiply(v.data(), 1, product.data());
    for (int64_t row = 0; row < count; ++row) {
      const float scale = Scale(first + row, step);
      for (int64_t i = 0; i < width_; i += kLanes) Store(scale * Load(product.data() + i), product_.data() + row * width_ + i);
      for (int64_t i = 0; i < a_.units; i += kLanes) {
        const Floats state = scale * Load(v.data() + i);
        Store(state, h_.data() + row * a_.units + i);
        if (a_.states != nullptr) Store(state, a_.states + ((first + row) * a_.steps + step) * a_.units + i);
      }
    }
  }

  void StepOfRow(int64_t first, int64_t count, int64_t row, int64_t step) {
    const int64_t at = (first + row) * a_.steps + step, ahead = at + kRowsAhead * a_.steps;
    if (row + kRowsAhead < count) {
      Prefetch(Input(first + row + kRowsAhead, step), 3 * a_.units);
      if (a_.gates != nullptr) PrefetchToWrite(a_.gates + ahead * 4 * a_.units, 4 * a_.units);
      if (a_.states != nullptr) PrefetchToWrite(a_.states + ahead * a_.units, a_.units);
    }
    Step(Scale(first + row, step), Input(first + row, step), product_.data() + row * width_, h_.data() + row * a_.units,
         a_.states == nullptr ? nullptr : a_.states + at * a_.units, a_.gates == nullptr ? nullptr : a_.gates + at * 4 * a_.units);
  }

  // h [H]: in and out. input [3H]: x. product [3H]: h·U. out [H], the state, and kept [4H], of the gates, may be null.
  void Step(float scale, const T* input, const float* product, float* h, T* out, T* kept) const {
    const int64_t units = a_.units;
    if (scale == 0.0f) {  // the state stays, and no gradient goes to the gates
      for (int64_t i = 0; out != nullptr && i < units; i += kLanes) Store(Load(h + i), out + i);
      if (kept != nullptr) std::fill(kept, kept + 4 * units, T(0));
      return;
    }
    for (int64_t i = 0; i < units; i += kLanes) {
      const Floats update = Sigmoid<T>(Load(input + i) + Load(product + i));
      const Floats reset = Sigmoid<T>(Load(input + units + i) + Load(product + units + i));
      const Floats from_state = Load(product + 2 * units + i);
      const Floats candidate = Tanh<T>(Load(input + 2 * units + i) + reset * from_state);
      const Floats before = Load(h + i);
      const Floats after = before + scale * update * (candidate - before);
      Store(after, h + i);
      if (out != nullptr) Store(after, out + i);
      if (kept == nullptr) continue;
      Store(update, kept + i);
      Store(reset, kept + units + i);
      Store(candidate, kept + 2 * units + i);
      Store(from_state, kept + 3 * units + i);
    }
  }

  const GruArrays<T> a_;
  const std::vector<E>& recurrent_;
  const int64_t width_, elements_;
  std::vector<float> h_, product_;
  std::vector<E> left_;
};

template <typename T>
class GruOp : public OpKernel {
 public:
  explicit GruOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("last_only", &last_only_));
  }

  void Compute(OpKernelContext* context) override {
    using E = typename ElementOf<T>::type;
    const Tensor& projected = context->input(0);
    const Tensor& run_of_row = context->input(1);
    const Tensor& recurrent = context->input(2);
    const Tensor& scale = context->input(3);
    OP_REQUIRES(context, projected.dims() == 3 && scale.dims() == 2 && recurrent.dims() == 2,
                tensorflow::errors::InvalidArgument("gru: expected projected [U, S, 3H], scale [B, S]"));
    const int64_t units = recurrent.dim_size(0), steps = scale.dim_size(1), rows = scale.dim_size(0);
    OP_REQUIRES(context,
                units % kLanes == 0 && recurrent.dim_size(1) == 3 * units && projected.dim_size(2) == 3 * units &&
                    projected.dim_size(1) == steps && run_of_row.NumElements() == rows,
                tensorflow::errors::InvalidArgument("gru: shapes do not fit: projected ",
                                                    projected.shape().DebugString(), ", recurrent ",
                                                    recurrent.shape().DebugString(), ", scale ",
                                                    scale.shape().DebugString(), "; units must be a multiple of 16"));
    OP_REQUIRES(context, AreRuns(run_of_row.flat<int32_t>().data(), rows, projected.dim_size(0)),
                tensorflow::errors::InvalidArgument("gru: run_of_row must ascend within the runs of projected"));
    GruArrays<T> arrays{projected.flat<T>().data(), scale.flat<T>().data(), run_of_row.flat<int32_t>().data(),
                        nullptr, nullptr, nullptr, units, steps};
    const auto allocate = [&](int output, const TensorShape& shape, T** to) {
      Tensor* tensor = nullptr;
      if (!context->output_required(output)) return tensorflow::OkStatus();  // scoring uses few of them
      TF_RETURN_IF_ERROR(context->allocate_output(output, shape, &tensor));
      *to = tensor->flat<T>().data();
      return tensorflow::OkStatus();
    };
    OP_REQUIRES_OK(context, allocate(0, {rows, steps, units}, &arrays.states));
    OP_REQUIRES_OK(context, allocate(1, {rows, steps, 4 * units}, &arrays.gates));
    OP_REQUIRES_OK(context, allocate(2, {last_only_ ? rows : 0, units}, &arrays.last));
    if (!last_only_) arrays.last = nullptr;
    if (rows == 0) return;
    const std::vector<E> packed = PackedRight<E>(recurrent.flat<float>().data(), units, 3 * units, 3 * units, 1);
    ForEachShard(context, arrays.run_of_row, rows, ShardsOf(context, rows), [&](int64_t first, int64_t last, int64_t) {
      GruBlock<T> block(arrays, packed);
      for (int64_t row = first; row < last; row += kBlockRows) block.Run(row, std::min(kBlockRows, last - row));
    });
  }

 private:
  bool last_only_;
};

}  // namespace

REGISTER_OP("RecserveGru")
    .Input("projected: T")
    .Input("run_of_row: int32")
    .Input("recurrent: float")
    .Input("scale: T")
    .Output("states: T")
    .Output("gates: T")
    .Output("last: T")
    .Attr("T: {float, bfloat16}")
    .Attr("last_only: bool")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) {
      const auto rows = c->Dim(c->input(3), 0), steps = c->Dim(c->input(3), 1), units = c->Dim(c->input(2), 0);
      c->set_output(0, c->MakeShape({rows, steps, units}));
      tensorflow::shape_inference::DimensionHandle saved;
      TF_RETURN_IF_ERROR(c->Multiply(units, 4, &saved));
      c->set_output(1, c->MakeShape({rows, steps, saved}));
      c->set_output(2, c->Matrix(rows, units));
      return tensorflow::OkStatus();
    });

RECSERVE_REGISTER_CPU("RecserveGru", GruOp);

}  // namespace recserve
