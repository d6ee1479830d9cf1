// DIEN's auxiliary loss and its gradients in one pass over the real steps; see layers/auxiliary.py and auxiliary_network.h.
//
// The gradients are those of the loss itself, so whoever differentiates further only has to scale them.

#include <vector>

#include "auxiliary_network.h"
#include "blocks.h"
#include "operation.h"

namespace recserve {
namespace {

constexpr int kVectors = 3;  // states, positive, negative
constexpr int kWeights = 9;

// Inputs: states [U, S, H], positive, negative [U, S, D], the nine weights of AuxiliaryWeights, step_weights [U, S] float.
// A step whose weight is 0 is left out. Outputs: the loss, then the gradient of each input but the last.
template <typename T>
class AuxiliaryLossOp : public OpKernel {
 public:
  using E = typename ElementOf<T>::type;

  explicit AuxiliaryLossOp(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    OP_REQUIRES(context, Fits(context),
                tensorflow::errors::InvalidArgument("auxiliary loss: shapes do not fit: states ", ShapeOf(context, 0),
                                                    ", positive ", ShapeOf(context, 1), ", negative ", ShapeOf(context, 2),
                                                    ", step weights ", ShapeOf(context, kVectors + kWeights),
                                                    "; the widths of states and items must be multiples of 16"));
    Tensor* loss;
    Tensor* gradients[kVectors + kWeights];
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({}), &loss));
    for (int i = 0; i < kVectors + kWeights; ++i) {
      OP_REQUIRES_OK(context, context->allocate_output(i + 1, context->input(i).shape(), &gradients[i]));
    }
    const float* weights_in[kWeights];
    for (int i = 0; i < kWeights; ++i) weights_in[i] = context->input(kVectors + i).flat<float>().data();
    const int64_t rows = context->input(0).dim_size(0);
    const AuxiliaryWeights<E> weights(weights_in, context->input(0).dim_size(2), context->input(1).dim_size(2),
                                      context->input(3).dim_size(1), context->input(7).dim_size(1));
    const int64_t shards = ShardsOf(context, rows);
    std::vector<AuxiliarySums<E>> sums(shards, AuxiliarySums<E>(weights));
    ForEachShard(context, rows, shards, [&](int64_t begin, int64_t end, int64_t shard) {
      Run(context, weights, gradients, begin, end, &sums[shard]);
    });
    double total = 0.0;
    for (const AuxiliarySums<E>& sum : sums) total += sum.loss;
    loss->scalar<float>()() = static_cast<float>(total);
    WriteSums(weights, sums, gradients + kVectors);
  }

 private:
  static std::string ShapeOf(OpKernelContext* context, int input) { return context->input(input).shape().DebugString(); }

  static bool Fits(OpKernelContext* context) {
    const Tensor &states = context->input(0), &positive = context->input(1), &w_hidden = context->input(7);
    if (states.dims() != 3 || positive.dims() != 3 || context->input(3).dims() != 2 || w_hidden.dims() != 2) return false;
    const int64_t rows = states.dim_size(0), steps = states.dim_size(1), state = states.dim_size(2);
    const int64_t item = positive.dim_size(2), first = w_hidden.dim_size(0), second = w_hidden.dim_size(1);
    const TensorShape expected[kVectors + kWeights + 1] = {
        {rows, steps, state}, {rows, steps, item}, {rows, steps, item}, {state, first}, {item, first}, {first},
        {first},              {first, second},     {second},            {second},       {second},      {1},
        {rows, steps},
    };
    for (int i = 0; i <= kVectors + kWeights; ++i) {
      if (context->input(i).shape() != expected[i]) return false;
    }
    return state % kLanes == 0 && item % kLanes == 0;
  }

  static void Run(OpKernelContext* context, const AuxiliaryWeights<E>& weights, Tensor* const* gradients, int64_t begin,
                  int64_t end, AuxiliarySums<E>* sums) {
    const float* step_weights = context->input(kVectors + kWeights).template flat<float>().data();
    const int64_t steps = context->input(0).dim_size(1);
    const int64_t widths[kVectors] = {weights.state_width, weights.item_width, weights.item_width};
    const T* in[kVectors];
    T* out[kVectors];
    for (int i = 0; i < kVectors; ++i) {
      in[i] = context->input(i).template flat<T>().data();
      out[i] = gradients[i]->template flat<T>().data();
    }
    AuxiliaryBlock<T> block(weights, sums);
    for (int64_t at = begin * steps; at < end * steps; ++at) {
      if (step_weights[at] != 0.0f) {
        block.Add({in[0] + at * widths[0], in[1] + at * widths[1], in[2] + at * widths[2], out[0] + at * widths[0],
                   out[1] + at * widths[1], out[2] + at * widths[2], step_weights[at]});
        continue;
      }
      for (int i = 0; i < kVectors; ++i) std::fill_n(out[i] + at * widths[i], widths[i], T(0));
    }
    block.Flush();
  }

  // Adds the threads' sums in their order and takes the padding off.
  static void WriteSums(const AuxiliaryWeights<E>& w, const std::vector<AuxiliarySums<E>>& sums, Tensor* const* to) {
    const auto write = [&](Tensor* gradient, std::vector<float> AuxiliarySums<E>::*member, int64_t rows, int64_t columns) {
      AddShards(sums, member, rows, columns, gradient->template flat<float>().data());
    };
    using S = AuxiliarySums<E>;
    write(to[0], &S::state, w.state_width, w.first_units);
    write(to[1], &S::item, w.item_width, w.first_units);
    write(to[2], &S::b_first, 1, w.first_units);
    write(to[3], &S::alpha_first, 1, w.first_units);
    write(to[4], &S::hidden, w.first_units, w.second_units);
    write(to[5], &S::b_hidden, 1, w.second_units);
    write(to[6], &S::alpha_hidden, 1, w.second_units);
    write(to[7], &S::head, 1, w.second_units);
    double b_head = 0.0;
    for (const S& sum : sums) b_head += sum.b_head;
    *to[8]->template flat<float>().data() = static_cast<float>(b_head);
  }
};

}  // namespace

REGISTER_OP("RecserveAuxiliaryLoss")
    .Input("states: T")
    .Input("positive: T")
    .Input("negative: T")
    .Input("w_state: float")
    .Input("w_item: float")
    .Input("b_first: float")
    .Input("alpha_first: float")
    .Input("w_hidden: float")
    .Input("b_hidden: float")
    .Input("alpha_hidden: float")
    .Input("w_head: float")
    .Input("b_head: float")
    .Input("step_weights: float")
    .Output("loss: float")
    .Output("states_gradient: T")
    .Output("positive_gradient: T")
    .Output("negative_gradient: T")
    .Output("w_state_gradient: float")
    .Output("w_item_gradient: float")
    .Output("b_first_gradient: float")
    .Output("alpha_first_gradient: float")
    .Output("w_hidden_gradient: float")
    .Output("b_hidden_gradient: float")
    .Output("alpha_hidden_gradient: float")
    .Output("w_head_gradient: float")
    .Output("b_head_gradient: float")
    .Attr("T: {float, bfloat16}")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) {
      c->set_output(0, c->Scalar());
      for (int i = 0; i < kVectors + kWeights; ++i) c->set_output(i + 1, c->input(i));
      return tensorflow::OkStatus();
    });

RECSERVE_REGISTER_CPU("RecserveAuxiliaryLoss", AuxiliaryLossOp);

}  // namespace recserve
