// A target's attention by inner products, in one pass over each row's real steps: scores, selection of the k highest,
// softmaxes and weighted sums; and all gradients in another pass. See native/dot_attention.py.

#include <algorithm>
#include <vector>

#include "gemm.h"
#include "operation.h"
#include "row_items.h"
#include "row_slots.h"
#include "step_weights.h"
#include "tables.h"
#include "vector.h"

namespace recserve {
namespace {

// Which weighted sums there are, in this order: attended; with a search the mean of what it selected; with relevance
// the sum by the softmax of the scores.
struct Kinds {
  int64_t k;  // 0: no search
  bool relevance;

  int64_t count() const { return 1 + (k > 0) + relevance; }
  int64_t average() const { return 1; }
  int64_t last() const { return count() - 1; }
};

tensorflow::Status ReadKinds(OpKernelConstruction* context, Kinds* kinds) {
  TF_RETURN_IF_ERROR(context->GetAttr("k", &kinds->k));
  return context->GetAttr("relevance", &kinds->relevance);
}

tensorflow::Status CheckShapes(const Tables& tables, const Tensor& query, const Tensor& mask) {
  if (query.shape() != TensorShape({tables.batch, tables.width}) || mask.shape() != TensorShape({tables.batch, tables.steps})) {
    return tensorflow::errors::InvalidArgument("dot attention: query ", query.shape().DebugString(), " and mask ",
                                               mask.shape().DebugString(), " do not fit histories [", tables.batch, ", ",
                                               tables.steps, ", ", tables.width, "]");
  }
  return tensorflow::OkStatus();
}

class DotAttentionOp : public OpKernel {
 public:
  explicit DotAttentionOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, ReadKinds(context, &kinds_));
  }

  void Compute(OpKernelContext* context) override {
    Tables tables;
    OP_REQUIRES_OK(context, ReadTables(context, &tables));
    const Tensor &query = context->input(0), &bias = context->input(1), &mask = context->input(2);
    OP_REQUIRES_OK(context, CheckShapes(tables, query, mask));
    OP_REQUIRES(context, bias.NumElements() == 0 || bias.NumElements() == tables.steps,
                tensorflow::errors::InvalidArgument("dot attention: a bias of ", bias.NumElements(), " steps"));
    const int64_t count = kinds_.count(), steps = tables.steps;
    Tensor *pooled, *weights;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({tables.batch, count, tables.width}), &pooled));
    OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({tables.batch, count, steps}), &weights));
    const float* of_query = query.flat<float>().data();
    const float* of_bias = bias.NumElements() == 0 ? nullptr : bias.flat<float>().data();
    const bool* real = mask.flat<bool>().data();
    float *sums = pooled->flat<float>().data(), *shares = weights->flat<float>().data();
    ForRows(context, tables.batch, 8 * steps * tables.width, [&](int64_t begin, int64_t end) {
      RowItems items(tables);
      Scratch scratch(steps, items.stride());
      for (int64_t row = begin; row < end; ++row) {
        items.Gather(row, real + row * steps);
        std::copy_n(of_query + row * tables.width, tables.width, scratch.query.data());
        items.Dot(scratch.query.data(), scratch.scores.data());
        WriteWeights(items, of_bias, &scratch);
        for (int64_t q = 0; q < count; ++q) {
          const float* of_kind = scratch.weights.data() + q * scratch.stride;
          items.WeightedSum(of_kind, scratch.sum.data());
          std::copy_n(scratch.sum.data(), tables.width, sums + (row * count + q) * tables.width);
          float* to = shares + (row * count + q) * steps;
          std::fill_n(to, steps, 0.0f);
          for (int64_t n = 0; n < items.count(); ++n) to[items.step(n)] = of_kind[n];
        }
      }
    });
  }

 private:
  struct Scratch {
    Scratch(int64_t steps, int64_t width)
        : stride(PaddedColumns(steps)), query(width, 0.0f), sum(width), scores(stride), weights(3 * stride),
          order(stride), chosen(steps) {}
    int64_t stride;
    std::vector<float> query, sum, scores, weights, order;
    std::vector<int32_t> chosen;
  };

  // scratch.weights: of each kind, for the real steps one after another.
  void WriteWeights(const RowItems& items, const float* bias, Scratch* scratch) const {
    const int64_t count = items.count();
    const float* scores = scratch->scores.data();
    float* attended = scratch->weights.data();
    int64_t chosen = count;
    for (int64_t n = 0; n < count; ++n) scratch->chosen[n] = static_cast<int32_t>(n);
    if (kinds_.k > 0) chosen = SelectHighest(count, kinds_.k, scores, scratch->order.data(), scratch->chosen.data());
    float* logits = scratch->order.data();
    for (int64_t n = 0; n < chosen; ++n) {
      const int32_t at = scratch->chosen[n];
      logits[n] = scores[at] + (bias == nullptr ? 0.0f : bias[items.step(at)]);
    }
    Softmax(chosen, logits);
    std::fill_n(attended, count, 0.0f);
    for (int64_t n = 0; n < chosen; ++n) attended[scratch->chosen[n]] = logits[n];
    if (kinds_.k > 0) {
      float* average = scratch->weights.data() + kinds_.average() * scratch->stride;
      std::fill_n(average, count, 0.0f);
      for (int64_t n = 0; n < chosen; ++n) average[scratch->chosen[n]] = 1.0f / static_cast<float>(chosen);
    }
    if (kinds_.relevance) {
      float* relevance = scratch->weights.data() + kinds_.last() * scratch->stride;
      std::copy_n(scores, count, relevance);
      Softmax(count, relevance);
    }
  }

  Kinds kinds_;
};

// Gradients of the query, of the bias, and of each table: ids, each once and without 0, and their sums.
class DotAttentionGradientOp : public OpKernel {
 public:
  explicit DotAttentionGradientOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, ReadKinds(context, &kinds_));
  }

  void Compute(OpKernelContext* context) override {
    Tables tables;
    OP_REQUIRES_OK(context, ReadTables(context, &tables));
    const Tensor &upstream = context->input(0), &weights = context->input(1), &query = context->input(2);
    const Tensor& mask = context->input(3);
    OP_REQUIRES_OK(context, CheckShapes(tables, query, mask));
    const int64_t count = kinds_.count(), steps = tables.steps, width = tables.width;
    OP_REQUIRES(context,
                upstream.shape() == TensorShape({tables.batch, count, width}) &&
                    weights.shape() == TensorShape({tables.batch, count, steps}),
                tensorflow::errors::InvalidArgument("dot attention gradient: upstream ", upstream.shape().DebugString(),
                                                    " and weights ", weights.shape().DebugString(), " do not fit"));
    Tensor *query_gradient, *bias_gradient;
    OP_REQUIRES_OK(context, context->allocate_output(0, query.shape(), &query_gradient));
    OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({steps}), &bias_gradient));

    std::vector<RowSlots> slots;
    slots.reserve(tables.parts.size());
    std::vector<int64_t> starts;  // of each table's sums in a buffer; the bias's come first
    int64_t size = steps;
    for (const Part& part : tables.parts) {
      slots.emplace_back(part.ids, tables.batch * steps, part.rows);
      starts.push_back(size);
      size += slots.back().slots() * part.width;
    }
    const Sources from{upstream.flat<float>().data(), weights.flat<float>().data(), query.flat<float>().data(),
                       mask.flat<bool>().data()};
    float* of_query = query_gradient->flat<float>().data();
    std::vector<float> sums(size);
    AddInParallel(context, tables.batch, size, sums.data(), [&](int64_t begin, int64_t end, float* to) {
      RowItems items(tables);
      Scratch scratch(steps, items.stride());
      for (int64_t row = begin; row < end; ++row) {
        items.Gather(row, from.mask + row * steps);
        ReadRow(from, tables, items, row, &scratch);
        AddScoreGradients(items, &scratch, to);
        items.WeightedSum(scratch.scores.data(), scratch.item.data());
        std::copy_n(scratch.item.data(), width, of_query + row * width);
        for (int64_t n = 0; n < items.count(); ++n) {
          WriteItemGradient(n, &scratch);
          for (size_t p = 0; p < slots.size(); ++p) {
            const Part& part = tables.parts[p];
            const int64_t slot = slots[p].of(row * steps + items.step(n));
            if (slot == 0) continue;
            AddScaled(1.0f, scratch.item.data() + part.offset, part.width, to + starts[p] + slot * part.width);
          }
        }
      }
    });
    std::copy_n(sums.data(), steps, bias_gradient->flat<float>().data());
    WriteTables(context, tables, slots, starts, sums);
  }

 private:
  struct Sources {
    const float *upstream, *weights, *query;
    const bool* mask;
  };

  // Of one row, for its real steps one after another.
  struct Scratch {
    Scratch(int64_t steps, int64_t width)
        : stride(PaddedColumns(steps)), width(width), vectors(4 * width, 0.0f), weights(3 * stride), products(stride),
          scores(stride), item(width) {}
    int64_t stride, width;
    std::vector<float> vectors;  // each kind's upstream, then the query
    std::vector<float> weights, products;
    std::vector<float> scores;  // gradients of the scores
    std::vector<float> item;
  };

  void ReadRow(const Sources& from, const Tables& tables, const RowItems& items, int64_t row, Scratch* scratch) const {
    const int64_t count = kinds_.count(), width = tables.width;
    for (int64_t q = 0; q < count; ++q) {
      std::copy_n(from.upstream + (row * count + q) * width, width, scratch->vectors.data() + q * scratch->width);
      const float* of_steps = from.weights + (row * count + q) * tables.steps;
      float* weights = scratch->weights.data() + q * scratch->stride;
      for (int64_t n = 0; n < items.count(); ++n) weights[n] = of_steps[items.step(n)];
    }
    std::copy_n(from.query + row * width, width, scratch->vectors.data() + count * scratch->width);
  }

  // Back through the softmaxes; the selection, and so the mean of what it selected, has no gradient of the scores.
  void AddScoreGradients(const RowItems& items, Scratch* scratch, float* bias_gradient) const {
    const int64_t steps = items.count();
    std::fill_n(scratch->scores.data(), steps, 0.0f);
    float* products = scratch->products.data();
    for (int64_t q = 0; q < kinds_.count(); ++q) {
      if (kinds_.k > 0 && q == kinds_.average()) continue;
      const float* weights = scratch->weights.data() + q * scratch->stride;
      items.Dot(scratch->vectors.data() + q * scratch->width, products);
      float mean = 0.0f;
      for (int64_t n = 0; n < steps; ++n) mean += weights[n] * products[n];
      for (int64_t n = 0; n < steps; ++n) products[n] = weights[n] * (products[n] - mean);
      for (int64_t n = 0; n < steps; ++n) scratch->scores[n] += products[n];
      if (q > 0) continue;
      for (int64_t n = 0; n < steps; ++n) bias_gradient[items.step(n)] += products[n];
    }
  }

  void WriteItemGradient(int64_t n, Scratch* scratch) const {
    const int64_t count = kinds_.count();
    for (int64_t i = 0; i < scratch->width; i += kLanes) {
      Floats sum = scratch->scores[n] * Load(scratch->vectors.data() + count * scratch->width + i);
      for (int64_t q = 0; q < count; ++q) {
        sum += scratch->weights[q * scratch->stride + n] * Load(scratch->vectors.data() + q * scratch->width + i);
      }
      Store(sum, scratch->item.data() + i);
    }
  }

  static void WriteTables(OpKernelContext* context, const Tables& tables, const std::vector<RowSlots>& slots,
                          const std::vector<int64_t>& starts, const std::vector<float>& sums) {
    const int first = 2, tables_count = static_cast<int>(slots.size());
    for (int p = 0; p < tables_count; ++p) {
      const int64_t width = tables.parts[p].width;
      Tensor *ids, *values;
      OP_REQUIRES_OK(context, context->allocate_output(first + p, TensorShape({slots[p].count()}), &ids));
      OP_REQUIRES_OK(context,
                     context->allocate_output(first + tables_count + p, TensorShape({slots[p].count(), width}), &values));
      std::copy(slots[p].ids().begin(), slots[p].ids().end(), ids->flat<int32_t>().data());
      slots[p].Compact(sums.data() + starts[p], width, values->flat<float>().data());
    }
  }

  Kinds kinds_;
};

}  // namespace

REGISTER_OP("RecserveDotAttention")
    .Input("query: float")
    .Input("bias: float")
    .Input("mask: bool")
    .Input("tables: N * float")
    .Input("ids: N * int32")
    .Output("pooled: float")
    .Output("weights: float")
    .Attr("N: int >= 1")
    .Attr("k: int >= 0")
    .Attr("relevance: bool")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) {
      c->set_output(0, c->UnknownShapeOfRank(3));
      c->set_output(1, c->UnknownShapeOfRank(3));
      return tensorflow::OkStatus();
    });
REGISTER_OP("RecserveDotAttentionGradient")
    .Input("upstream: float")
    .Input("weights: float")
    .Input("query: float")
    .Input("mask: bool")
    .Input("tables: N * float")
    .Input("ids: N * int32")
    .Output("query_gradient: float")
    .Output("bias_gradient: float")
    .Output("unique: N * int32")
    .Output("sums: N * float")
    .Attr("N: int >= 1")
    .Attr("k: int >= 0")
    .Attr("relevance: bool")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) {
      c->set_output(0, c->input(2));
      c->set_output(1, c->Vector(c->UnknownDim()));
      int tables;
      TF_RETURN_IF_ERROR(c->GetAttr("N", &tables));
      for (int p = 0; p < tables; ++p) {
        c->set_output(2 + p, c->Vector(c->UnknownDim()));
        c->set_output(2 + tables + p, c->Matrix(c->UnknownDim(), c->Dim(c->input(4 + p), -1)));
      }
      return tensorflow::OkStatus();
    });
REGISTER_KERNEL_BUILDER(Name("RecserveDotAttention").Device(tensorflow::DEVICE_CPU), DotAttentionOp);
REGISTER_KERNEL_BUILDER(Name("RecserveDotAttentionGradient").Device(tensorflow::DEVICE_CPU), DotAttentionGradientOp);

}  // namespace recserve
