// DIEN's auxiliary network with its weights laid out for products, and a block of real steps taken through it and back;
// see layers/auxiliary.py.
//
// x₁ = prelu(h·W_h + e·W_e + b₁), x₂ = prelu(x₁·W₂ + b₂), logit = x₂·w₃ + b₃, for the positive and the negative item e of each
// state h.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "blocks.h"
#include "gemm.h"
#include "vector.h"

namespace recserve {

// w_state [H, M], w_item [D, M], b_first, alpha_first [M], w_hidden [M, N], b_hidden, alpha_hidden, w_head [N], b_head [1].
// Columns are padded to whole registers with zeros, which stay zeros through every layer and back.
template <typename E>
struct AuxiliaryWeights {
  AuxiliaryWeights(const float* const from[9], int64_t state, int64_t item, int64_t first, int64_t second)
      : state_width(state),
        item_width(item),
        first_units(first),
        second_units(second),
        first_padded(PaddedColumns(first)),
        second_padded(PaddedColumns(second)),
        state(PackedRight<E>(from[0], state, first, first, 1)),
        item(PackedRight<E>(from[1], item, first, first, 1)),
        hidden(PackedRight<E>(from[4], first, second, second, 1)),
        state_back(PackedRight<E>(from[0], first, state, 1, first)),
        item_back(PackedRight<E>(from[1], first, item, 1, first)),
        hidden_back(PackedRight<E>(from[4], second, first, 1, second)),
        b_first(Padded(from[2], first)),
        alpha_first(Padded(from[3], first)),
        b_hidden(Padded(from[5], second)),
        alpha_hidden(Padded(from[6], second)),
        w_head(Padded(from[7], second)),
        b_head(*from[8]) {}

  const int64_t state_width, item_width, first_units, second_units, first_padded, second_padded;
  const std::vector<E> state, item, hidden, state_back, item_back, hidden_back;
  const std::vector<float> b_first, alpha_first, b_hidden, alpha_hidden, w_head;
  const float b_head;
};

// One thread's sums of the loss and of the weights' gradients, columns padded.
template <typename E>
struct AuxiliarySums {
  explicit AuxiliarySums(const AuxiliaryWeights<E>& w)
      : state(w.state_width * w.first_padded, 0.0f),
        item(w.item_width * w.first_padded, 0.0f),
        b_first(w.first_padded, 0.0f),
        alpha_first(w.first_padded, 0.0f),
        hidden(w.first_padded * w.second_padded, 0.0f),
        b_hidden(w.second_padded, 0.0f),
        alpha_hidden(w.second_padded, 0.0f),
        head(w.second_padded, 0.0f) {}

  std::vector<float> state, item, b_first, alpha_first, hidden, b_hidden, alpha_hidden, head;
  double b_head = 0.0, loss = 0.0;
};

// Up to kSteps real steps: two rows of the network each, the positive items' rows first.
template <typename T>
class AuxiliaryBlock {
 public:
  using E = typename ElementOf<T>::type;
  static constexpr int64_t kSteps = 32;

  // Where a step's vectors are, and where their gradients go.
  struct Step {
    const T *state, *positive, *negative;
    T *state_gradient, *positive_gradient, *negative_gradient;
    float weight;
  };

  AuxiliaryBlock(const AuxiliaryWeights<E>& weights, AuxiliarySums<E>* sums)
      : w_(weights),
        sums_(sums),
        before_first_(2 * kSteps * w_.first_padded),
        first_(2 * kSteps * w_.first_padded),
        before_second_(2 * kSteps * w_.second_padded),
        second_gradient_(2 * kSteps * w_.second_padded),
        first_gradient_(2 * kSteps * w_.first_padded),
        out_(2 * kSteps * std::max(PaddedColumns(w_.state_width), PaddedColumns(w_.item_width))) {
    const int64_t widest = std::max({w_.state_width, w_.item_width, w_.first_padded, w_.second_padded});
    left_.resize(2 * kSteps * ElementsOf<E>(widest));
    across_.resize(ElementsOf<E>(2 * kSteps) * widest);
    below_.resize(ElementsOf<E>(2 * kSteps) * std::max(w_.first_padded, w_.second_padded));
    steps_.reserve(kSteps);
  }

  void Add(const Step& step) {
    steps_.push_back(step);
    if (static_cast<int64_t>(steps_.size()) == kSteps) Flush();
  }

  // Takes what was added through the network and back.
  void Flush() {
    if (steps_.empty()) return;
    Forward();
    LossAndHead();
    Backward();
    steps_.clear();
  }

 private:
  int64_t count() const { return static_cast<int64_t>(steps_.size()); }

  const T* ItemOf(int64_t row) const { return row < count() ? steps_[row].positive : steps_[row - count()].negative; }

  T* ItemGradientOf(int64_t row) const {
    return row < count() ? steps_[row].positive_gradient : steps_[row - count()].negative_gradient;
  }

  void Forward() {
    const int64_t n = count(), first = w_.first_padded;
    float* x = before_first_.data();
    for (int64_t row = 0; row < n; ++row) PackRow(steps_[row].state, w_.state_width, LeftRow(row, w_.state_width));
    for (int64_t row = 0; row < n; ++row) std::copy(w_.b_first.begin(), w_.b_first.end(), x + row * first);
    Product(n, w_.state_width, w_.state, first, x, true);
    std::copy(x, x + n * first, x + n * first);
    for (int64_t row = 0; row < 2 * n; ++row) PackRow(ItemOf(row), w_.item_width, LeftRow(row, w_.item_width));
    Product(2 * n, w_.item_width, w_.item, first, x, true);
    for (int64_t row = 0; row < 2 * n; ++row) {
      Prelu(x + row * first, w_.alpha_first, first_.data() + row * first);
      PackRow(first_.data() + row * first, w_.first_units, LeftRow(row, w_.first_units));
    }
    float* y = before_second_.data();
    for (int64_t row = 0; row < 2 * n; ++row) std::copy(w_.b_hidden.begin(), w_.b_hidden.end(), y + row * w_.second_padded);
    Product(2 * n, w_.first_units, w_.hidden, w_.second_padded, y, true);
  }

  // Cross-entropy on the logits, and the gradient up to what enters the second layer's PReLU.
  void LossAndHead() {
    const int64_t n = count(), second = w_.second_padded;
    for (int64_t row = 0; row < 2 * n; ++row) {
      const float* x = before_second_.data() + row * second;
      float* gradient = second_gradient_.data() + row * second;
      Prelu(x, w_.alpha_hidden, gradient);
      Floats sum{};
      for (int64_t i = 0; i < second; i += kLanes) sum += Load(gradient + i) * Load(w_.w_head.data() + i);
      const float logit = Sum(sum) + w_.b_head, weight = steps_[row % n].weight;
      const float label = row < n ? 1.0f : 0.0f, e = std::exp(-std::fabs(logit));
      sums_->loss += weight * (std::max(logit, 0.0f) - logit * label + std::log1p(e));
      const float logit_gradient = weight * ((logit >= 0.0f ? 1.0f : e) / (1.0f + e) - label);
      sums_->b_head += logit_gradient;
      for (int64_t i = 0; i < second; i += kLanes) {
        Accumulate(logit_gradient * Load(gradient + i), sums_->head.data() + i);
        Store(logit_gradient * Load(w_.w_head.data() + i), gradient + i);
      }
      PreluBack(x, w_.alpha_hidden, gradient, sums_->alpha_hidden.data(), sums_->b_hidden.data());
    }
  }

  void Backward() {
    const int64_t n = count(), first = w_.first_padded, second = w_.second_padded;
    WeightGradient([&](int64_t row) { return first_.data() + row * first; }, 2 * n, first, second_gradient_.data(), second,
                   sums_->hidden.data());
    PackLeft(second_gradient_.data(), 2 * n, w_.second_units, second, left_.data());
    Product(2 * n, w_.second_units, w_.hidden_back, first, first_gradient_.data(), false);
    for (int64_t row = 0; row < 2 * n; ++row) {
      PreluBack(before_first_.data() + row * first, w_.alpha_first, first_gradient_.data() + row * first,
                sums_->alpha_first.data(), sums_->b_first.data());
    }
    WeightGradient([&](int64_t row) { return ItemOf(row); }, 2 * n, w_.item_width, first_gradient_.data(), first,
                   sums_->item.data());
    BackToInput(2 * n, w_.item_back, w_.item_width, [&](int64_t row) { return ItemGradientOf(row); });
    for (int64_t i = 0; i < n * first; i += kLanes) {  // the state takes part in both rows of its step
      Accumulate(Load(first_gradient_.data() + n * first + i), first_gradient_.data() + i);
    }
    WeightGradient([&](int64_t row) { return steps_[row].state; }, n, w_.state_width, first_gradient_.data(), first,
                   sums_->state.data());
    BackToInput(n, w_.state_back, w_.state_width, [&](int64_t row) { return steps_[row].state_gradient; });
  }

  E* LeftRow(int64_t row, int64_t width) { return left_.data() + row * ElementsOf<E>(width); }

  // to [rows, columns] (+)= what is packed in left_ [rows, k] · weights.
  void Product(int64_t rows, int64_t k, const std::vector<E>& weights, int64_t columns, float* to, bool add) {
    const int64_t elements = ElementsOf<E>(k);
    Multiply<E>(rows, columns, elements, {left_.data(), elements, 1}, weights.data(), columns, to, columns, add);
  }

  // sum [width, columns] += inputsᵀ · gradient.
  template <typename RowAt>
  void WeightGradient(RowAt input, int64_t rows, int64_t width, const float* gradient, int64_t columns, float* sum) {
    PackAcross(input, rows, width, across_.data());
    PackAlongRows(gradient, rows, columns, below_.data());
    Multiply<E>(width, columns, ElementsOf<E>(rows), {across_.data(), 1, width}, below_.data(), columns, sum, columns, true);
  }

  template <typename RowAt>
  void BackToInput(int64_t rows, const std::vector<E>& weights, int64_t width, RowAt gradient) {
    const int64_t padded = PaddedColumns(width);
    PackLeft(first_gradient_.data(), rows, w_.first_units, w_.first_padded, left_.data());
    Product(rows, w_.first_units, weights, padded, out_.data(), false);
    for (int64_t row = 0; row < rows; ++row) {
      T* to = gradient(row);
      for (int64_t i = 0; i < width; i += kLanes) Store(Load(out_.data() + row * padded + i), to + i);
    }
  }

  static void Prelu(const float* x, const std::vector<float>& alpha, float* y) {
    for (int64_t i = 0; i < static_cast<int64_t>(alpha.size()); i += kLanes) {
      const Floats v = Load(x + i);
      Store(v > 0.0f ? v : v * Load(alpha.data() + i), y + i);
    }
  }

  // gradient: of the PReLU's output, becomes that of its input x, which is also that of the bias.
  static void PreluBack(const float* x, const std::vector<float>& alpha, float* gradient, float* alpha_sum, float* bias_sum) {
    for (int64_t i = 0; i < static_cast<int64_t>(alpha.size()); i += kLanes) {
      const Floats v = Load(x + i), d = Load(gradient + i);
      const Floats back = v > 0.0f ? d : d * Load(alpha.data() + i);
      Accumulate(v > 0.0f ? Floats{} : d * v, alpha_sum + i);
      Accumulate(back, bias_sum + i);
      Store(back, gradient + i);
    }
  }

  const AuxiliaryWeights<E>& w_;
  AuxiliarySums<E>* sums_;
  std::vector<Step> steps_;
  std::vector<float> before_first_, first_, before_second_, second_gradient_, first_gradient_, out_;
  std::vector<E> left_, across_, below_;
};

}  // namespace recserve
