// The gradient of gru.cc, from the states and gates that it kept: back through the steps of a block of rows.

#include <algorithm>
#include <vector>

#include "blocks.h"
#include "gemm.h"
#include "operation.h"
#include "vector.h"

namespace recserve {
namespace {

template <typename T>
class GruGradientOp : public OpKernel {
 public:
  explicit GruGradientOp(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    using E = typename ElementOf<T>::type;
    const int32_t* runs = context->input(0).flat<int32_t>().data();
    const Tensor& recurrent = context->input(1);
    const Tensor& scale = context->input(2);
    const T* weight = scale.flat<T>().data();
    const T* states = context->input(3).flat<T>().data();
    const T* gates = context->input(4).flat<T>().data();
    const T* states_gradient = context->input(5).flat<T>().data();
    const bool last_only = context->input(5).dims() == 2;  // then the other states have none
    const int64_t run_count = context->input(6).scalar<int32_t>()();
    const int64_t units = recurrent.dim_size(0), steps = scale.dim_size(1), rows = scale.dim_size(0);
    Tensor *x_gradient_out, *recurrent_gradient_out, *scale_gradient_out;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({run_count, steps, 3 * units}), &x_gradient_out));
    OP_REQUIRES_OK(context, context->allocate_output(1, recurrent.shape(), &recurrent_gradient_out));
    OP_REQUIRES_OK(context, context->allocate_output(2, scale.shape(), &scale_gradient_out));
    T* x_gradient = x_gradient_out->flat<T>().data();
    T* scale_gradient = scale_gradient_out->flat<T>().data();
    float* recurrent_gradient = recurrent_gradient_out->flat<float>().data();
    std::fill(recurrent_gradient, recurrent_gradient + recurrent.NumElements(), 0.0f);
    if (rows == 0) return;

    // U transposed: [3H, H]
    const std::vector<E> back = PackedRight<E>(recurrent.flat<float>().data(), 3 * units, units, 1, 3 * units);
    const int64_t wide = PaddedColumns(3 * units), narrow = PaddedColumns(units);
    const int64_t elements = ElementsOf<E>(3 * units), row_elements = ElementsOf<E>(kBlockRows);
    const int64_t shards = ShardsOf(context, rows);
    std::vector<std::vector<float>> sums(shards);

    ForEachShard(context, runs, rows, shards, [&](int64_t first, int64_t last, int64_t shard) {
      std::vector<float>& sum = sums[shard];
      sum.assign(units * wide, 0.0f);
      std::vector<float> carry(kBlockRows * narrow);
      std::vector<T> gate_gradient(kBlockRows * wide);
      std::vector<E> across(row_elements * units), below(row_elements * wide);
      for (int64_t block = first; block < last; block += kBlockRows) {
        const int64_t count = std::min(kBlockRows, last - block);
        std::fill(carry.begin(), carry.end(), 0.0f);
        for (int64_t step = steps - 1; step >= 0; --step) {
          bool real = false;
          for (int64_t row = 0; row < count; ++row) {
            const int64_t at = (block + row) * steps + step, run = runs[block + row];
            if (row + kRowsAhead < count) {
              const int64_t ahead = at + kRowsAhead * steps;
              Prefetch(gates + ahead * 4 * units, 4 * units);
              Prefetch(states + (ahead - 1) * units, units);
              if (!last_only) Prefetch(states_gradient + ahead * units, units);
              PrefetchToWrite(x_gradient + (runs[block + row + kRowsAhead] * steps + step) * 3 * units, 3 * units);
            }
            const T* state_gradient = states_gradient + at * units;
            if (last_only) state_gradient = step + 1 == steps ? states_gradient + (block + row) * units : nullptr;
            const float scale_here = static_cast<float>(weight[at]);
            real |= scale_here != 0.0f;
            scale_gradient[at] = Step(units, scale_here, gates + at * 4 * units, step > 0 ? states + (at - 1) * units : nullptr,
                                      state_gradient, carry.data() + row * narrow, gate_gradient.data() + row * wide,
                                      x_gradient + (run * steps + step) * 3 * units,
                                      block + row == first || run != runs[block + row - 1]);
          }
          if (!real || step == 0) continue;
          const E* left = reinterpret_cast<const E*>(gate_gradient.data());
          Multiply<E>(count, narrow, elements, {left, elements, 1}, back.data(), narrow, carry.data(), narrow, true);
          PackAcross([&](int64_t row) { return states + ((block + row) * steps + step - 1) * units; }, count, units, across.data());
          PackAcross([&](int64_t row) { return gate_gradient.data() + row * wide; }, count, wide, below.data());
          Multiply<E>(units, wide, ElementsOf<E>(count), {across.data(), 1, units}, below.data(), wide, sum.data(), wide, true);
        }
      }
    });
    for (const std::vector<float>& sum : sums) {
      for (int64_t row = 0; row < units && !sum.empty(); ++row) {
        for (int64_t i = 0; i < 3 * units; ++i) recurrent_gradient[row * 3 * units + i] += sum[row * wide + i];
      }
    }
  }

 private:
  // Gradients of one row's step; returns d/da. carry [H]: in, d/dh' from later steps; out, the part of d/dh that does not
  // go through U. Out: gate_gradient [3H], d/d(h·U). x_gradient [3H] differs from it in the candidate's part; the first
  // row of a run sets it, the others add.
  static T Step(int64_t units, float scale, const T* gates, const T* state_before, const T* state_gradient, float* carry,
                T* gate_gradient, T* x_gradient, bool sets) {
    if (scale == 0.0f) {
      for (int64_t i = 0; state_gradient != nullptr && i < units; i += kLanes) Accumulate(Load(state_gradient + i), carry + i);
      std::fill(gate_gradient, gate_gradient + 3 * units, T(0));
      if (sets) std::fill(x_gradient, x_gradient + 3 * units, T(0));
      return T(0);
    }
    const auto add_to_input = [&](Floats value, int64_t i) { Store(sets ? value : value + Load(x_gradient + i), x_gradient + i); };
    Floats scale_sum{};
    for (int64_t i = 0; i < units; i += kLanes) {
      const Floats h = state_before == nullptr ? Floats{} : Load(state_before + i);
      const Floats from_later = Load(carry + i) + (state_gradient == nullptr ? Floats{} : Load(state_gradient + i));
      const Floats update = Load(gates + i), reset = Load(gates + units + i);
      const Floats candidate = Load(gates + 2 * units + i), from_state = Load(gates + 3 * units + i);
      const Floats change = from_later * (candidate - h);
      scale_sum += change * update;
      const Floats inside = from_later * scale * update * (1.0f - candidate * candidate);
      const Floats of_update = scale * change * update * (1.0f - update), of_reset = inside * from_state * reset * (1.0f - reset);
      Store(of_update, gate_gradient + i);
      Store(of_reset, gate_gradient + units + i);
      Store(inside * reset, gate_gradient + 2 * units + i);
      add_to_input(of_update, i);
      add_to_input(of_reset, units + i);
      add_to_input(inside, 2 * units + i);
      Store(from_later * (1.0f - scale * update), carry + i);
    }
    return T(Sum(scale_sum));
  }
};

}  // namespace

REGISTER_OP("RecserveGruGradient")
    .Input("run_of_row: int32")
    .Input("recurrent: float")
    .Input("scale: T")
    .Input("states: T")
    .Input("gates: T")
    .Input("states_gradient: T")
    .Input("runs: int32")
    .Output("projected_gradient: T")
    .Output("recurrent_gradient: float")
    .Output("scale_gradient: T")
    .Attr("T: {float, bfloat16}")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) {
      c->set_output(0, c->MakeShape({c->UnknownDim(), c->Dim(c->input(2), 1), c->Dim(c->input(1), 1)}));
      c->set_output(1, c->input(1));
      c->set_output(2, c->input(2));
      return tensorflow::OkStatus();
    });

RECSERVE_REGISTER_CPU("RecserveGruGradient", GruGradientOp);

}  // namespace recserve
