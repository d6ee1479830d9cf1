// The vectors of items from several tables, side by side and in the type of the computation; and back, a part a table.

#include <algorithm>
#include <vector>

#include "blocks.h"
#include "operation.h"
#include "tables.h"
#include "vector.h"

namespace recserve {
namespace {

constexpr int64_t kItemsAhead = 8;  // whose table rows are asked for early: they may be anywhere

template <typename From, typename To>
inline void CopyRow(const From* from, int64_t width, To* to) {
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) Store(Load(from + i), to + i);
  for (; i < width; ++i) to[i] = static_cast<To>(static_cast<float>(from[i]));
}

// tables N of [V_n, D_n] float, ids N of [B, L] -> [B, L, ΣD_n].
template <typename T>
class ItemVectorsOp : public OpKernel {
 public:
  explicit ItemVectorsOp(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    Tables tables;
    OP_REQUIRES_OK(context, ReadTables(context, &tables));
    const int64_t items = tables.batch * tables.steps;
    Tensor* vectors;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({tables.batch, tables.steps, tables.width}), &vectors));
    if (items == 0) return;
    T* out = vectors->flat<T>().data();
    ForEachShard(context, items, ShardsOf(context, items), [&](int64_t begin, int64_t end, int64_t) {
      for (int64_t n = begin; n < end; ++n) {
        for (const Part& part : tables.parts) {
          if (n + kItemsAhead < end) Prefetch(part.table + part.ids[n + kItemsAhead] * part.width, part.width);
          CopyRow(part.table + part.ids[n] * part.width, part.width, out + n * tables.width + part.offset);
        }
      }
    });
  }
};

// upstream [B, L, ΣD_n] and the tables, of which only the widths count -> each table's columns, float [B·L, D_n].
template <typename T>
class ItemVectorsGradientOp : public OpKernel {
 public:
  explicit ItemVectorsGradientOp(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    OpInputList tables;
    OP_REQUIRES_OK(context, context->input_list("tables", &tables));
    const Tensor& upstream = context->input(0);
    int64_t width = 0;
    for (const Tensor& table : tables) width += table.dim_size(1);
    OP_REQUIRES(context, upstream.dims() == 3 && upstream.dim_size(2) == width,
                tensorflow::errors::InvalidArgument("item vectors: upstream ", upstream.shape().DebugString(),
                                                    " does not fit tables of width ", width));
    const int64_t items = upstream.dim_size(0) * upstream.dim_size(1);
    std::vector<float*> out;
    for (int i = 0; i < tables.size(); ++i) {
      Tensor* columns;
      OP_REQUIRES_OK(context, context->allocate_output(i, TensorShape({items, tables[i].dim_size(1)}), &columns));
      out.push_back(columns->flat<float>().data());
    }
    if (items == 0) return;
    const T* in = upstream.flat<T>().data();
    ForEachShard(context, items, ShardsOf(context, items), [&](int64_t begin, int64_t end, int64_t) {
      for (int64_t n = begin; n < end; ++n) {
        const T* from = in + n * width;
        for (int i = 0; i < tables.size(); ++i) {
          const int64_t of_table = tables[i].dim_size(1);
          CopyRow(from, of_table, out[i] + n * of_table);
          from += of_table;
        }
      }
    });
  }
};

}  // namespace

REGISTER_OP("RecserveItemVectors")
    .Input("tables: N * float")
    .Input("ids: N * int32")
    .Output("vectors: T")
    .Attr("T: {float, bfloat16}")
    .Attr("N: int >= 1")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) {
      c->set_output(0, c->UnknownShapeOfRank(3));
      return tensorflow::OkStatus();
    });
REGISTER_OP("RecserveItemVectorsGradient")
    .Input("upstream: T")
    .Input("tables: N * float")
    .Output("columns: N * float")
    .Attr("T: {float, bfloat16}")
    .Attr("N: int >= 1")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) {
      for (int i = 0; i < c->num_outputs(); ++i) c->set_output(i, c->Matrix(c->UnknownDim(), c->Dim(c->input(i + 1), 1)));
      return tensorflow::OkStatus();
    });

RECSERVE_REGISTER_CPU("RecserveItemVectors", ItemVectorsOp);
RECSERVE_REGISTER_CPU("RecserveItemVectorsGradient", ItemVectorsGradientOp);

}  // namespace recserve
