// What both passes of the activation unit share: its inputs, and a block of real steps taken through its layers.
#pragma once

#include <algorithm>
#include <vector>

#include "blocks.h"
#include "gemm.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "vector.h"

namespace recserve {

constexpr int64_t kBlockSteps = 64;

// The inputs that both passes have: items [U, S, H], item_part [U, S, M], target [B, H], target_part [B, M], w_product
// [H, M], w_hidden [M, N], b_hidden [N], w_head [N], run_of_row [B], mask [B, S]. H and M are multiples of 16,
// N is any.
template <typename T>
struct ActivationUnitInputs {
  explicit ActivationUnitInputs(tensorflow::OpKernelContext* context)
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
class ActivationUnitBlock {
 public:
  using E = typename ElementOf<T>::type;

  explicit ActivationUnitBlock(const ActivationUnitInputs<T>& in)
      : in_(in),
        first_padded_(PaddedColumns(in.first)),
        second_padded_(PaddedColumns(in.second)),
        product(kBlockSteps * in.width),
        x1(kBlockSteps * first_padded_),
        x2(kBlockSteps * second_padded_),
        b_hidden_(Padded(in.b_hidden, in.second)),
        left_(kBlockSteps * ElementsOf<E>(std::max(in.width, std::max(first_padded_, second_padded_)))) {
    places.reserve(kBlockSteps);
  }

  const ActivationUnitInputs<T>& in_;
  const int64_t first_padded_, second_padded_;
  std::vector<Place> places;
  std::vector<float> product;  // i∘t
  std::vector<float> x1, x2;  // columns behind the units mean nothing: their weights are 0

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
        Store(Sigmoid<T>(Load(x + i) + Load(item_part + i) + Load(target_part + i)), x + i);
      }
    }
    Product(x1.data(), in_.first, first_padded_, w_hidden, second_padded_, x2.data());
    for (int64_t n = 0; n < count(); ++n) {
      float* x = x2.data() + n * second_padded_;
      for (int64_t i = 0; i < second_padded_; i += kLanes) Store(Sigmoid<T>(Load(x + i) + Load(b_hidden_.data() + i)), x + i);
    }
  }

  // to [count, columns] = from [count, k] · weights.
  void Product(const float* from, int64_t k, int64_t stride, const std::vector<E>& weights, int64_t columns, float* to) {
    PackLeft(from, count(), k, stride, left_.data());
    const int64_t elements = ElementsOf<E>(k);
    Multiply<E>(count(), columns, elements, {left_.data(), elements, 1}, weights.data(), columns, to, columns, false);
  }

 private:
  const std::vector<float> b_hidden_;
  std::vector<E> left_;
};

}  // namespace recserve
