// Small matrix products inside a cache: C[M, N] (+)= A[M, K] · B[K, N], B and C row by row, N a multiple of 16.
//
// Two kinds of element. float: one k per 32 bits. Pair: two neighbouring k in bfloat16, so that one AVX512-BF16
// instruction does both; processors without it multiply in float32 with the same rounding of the inputs.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include "vector.h"

namespace recserve {

constexpr int kTileParts = 3;  // registers side by side
constexpr int kTileRows = 8;   // with 3 registers each 24 accumulators, of 32 registers that there are

struct Pair {
  uint32_t bits;  // low half: even k
};

inline uint32_t Rounded(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

inline Pair MakePair(float even, float odd) { return {Rounded(even) | Rounded(odd) << 16}; }

inline Floats MultiplyAdd(Floats sum, float a, const float* b) { return sum + a * Load(b); }

inline Floats MultiplyAdd(Floats sum, Pair a, const Pair* b) {
#if defined(__AVX512BF16__)
  const __m512i left = _mm512_set1_epi32(static_cast<int>(a.bits));
  const __m512i right = _mm512_loadu_si512(b);
  return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)left, (__m512bh)right);
#else
  Ints bits;
  std::memcpy(&bits, b, sizeof(bits));
  const Ints even_bits = bits << 16, odd_bits = bits & static_cast<int32_t>(0xffff0000);
  Floats even, odd;
  std::memcpy(&even, &even_bits, sizeof(even));
  std::memcpy(&odd, &odd_bits, sizeof(odd));
  const uint32_t a_even = a.bits << 16, a_odd = a.bits & 0xffff0000u;
  float x, y;
  std::memcpy(&x, &a_even, sizeof(x));
  std::memcpy(&y, &a_odd, sizeof(y));
  return sum + x * even + y * odd;
#endif
}

// A matrix of elements with any strides: element (row, k) is at data[row * row_stride + k * k_stride].
template <typename T>
struct Strided {
  const T* data;
  int64_t row_stride;
  int64_t k_stride;
};

template <typename T, int kRows, int kParts>
inline void Tile(int64_t k_count, Strided<T> a, const T* b, int64_t b_stride, float* c, int64_t c_stride, bool add) {
  Floats sum[kRows][kParts];
  for (int row = 0; row < kRows; ++row) {
    for (int part = 0; part < kParts; ++part) {
      sum[row][part] = add ? Load(c + row * c_stride + part * kLanes) : Floats{};
    }
  }
  for (int64_t k = 0; k < k_count; ++k) {
    const T* b_row = b + k * b_stride;
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
      const T value = a.data[row * a.row_stride + k * a.k_stride];
#pragma GCC unroll 3
      for (int part = 0; part < kParts; ++part) {
        sum[row][part] = MultiplyAdd(sum[row][part], value, b_row + part * kLanes);
      }
    }
  }
  for (int row = 0; row < kRows; ++row) {
    for (int part = 0; part < kParts; ++part) Store(sum[row][part], c + row * c_stride + part * kLanes);
  }
}

template <typename T, int kParts>
void MultiplyColumns(int64_t rows, int64_t k_count, Strided<T> a, const T* b, int64_t b_stride, float* c,
                     int64_t c_stride, bool add) {
  int64_t row = 0;
  for (; row + kTileRows <= rows; row += kTileRows) {
    Tile<T, kTileRows, kParts>(k_count, {a.data + row * a.row_stride, a.row_stride, a.k_stride}, b, b_stride,
                               c + row * c_stride, c_stride, add);
  }
  for (; row < rows; ++row) {
    Tile<T, 1, kParts>(k_count, {a.data + row * a.row_stride, a.row_stride, a.k_stride}, b, b_stride,
                       c + row * c_stride, c_stride, add);
  }
}

// columns: a multiple of 16. k_count counts elements of T.
template <typename T>
void Multiply(int64_t rows, int64_t columns, int64_t k_count, Strided<T> a, const T* b, int64_t b_stride, float* c,
              int64_t c_stride, bool add) {
  int64_t column = 0;
  for (; column + kTileParts * kLanes <= columns; column += kTileParts * kLanes) {
    MultiplyColumns<T, kTileParts>(rows, k_count, a, b + column, b_stride, c + column, c_stride, add);
  }
  if (columns - column == 2 * kLanes) {
    MultiplyColumns<T, 2>(rows, k_count, a, b + column, b_stride, c + column, c_stride, add);
  } else if (columns - column == kLanes) {
    MultiplyColumns<T, 1>(rows, k_count, a, b + column, b_stride, c + column, c_stride, add);
  }
}

inline int64_t PaddedColumns(int64_t columns) { return (columns + kLanes - 1) / kLanes * kLanes; }

// A row with zeros behind, up to whole registers.
inline std::vector<float> Padded(const float* from, int64_t columns) {
  std::vector<float> result(PaddedColumns(columns), 0.0f);
  std::copy(from, from + columns, result.begin());
  return result;
}

// How float data become elements of a product, and how many k one element holds.
template <typename T>
struct Elements;

template <>
struct Elements<float> {
  static constexpr int kPerElement = 1;
  static float Make(float even, float) { return even; }
};

template <>
struct Elements<Pair> {
  static constexpr int kPerElement = 2;
  static Pair Make(float even, float odd) { return MakePair(even, odd); }
};

template <typename T>
int64_t ElementsOf(int64_t k) {
  return (k + Elements<T>::kPerElement - 1) / Elements<T>::kPerElement;
}

// The right side of a product: [K, N] with strides -> [ElementsOf(K), PaddedColumns(N)], zeros behind.
template <typename T>
std::vector<T> PackedRight(const float* data, int64_t k_count, int64_t columns, int64_t k_stride,
                           int64_t column_stride) {
  const int64_t padded = PaddedColumns(columns), per = Elements<T>::kPerElement;
  std::vector<T> packed(ElementsOf<T>(k_count) * padded, T{});
  for (int64_t k = 0; k < k_count; k += per) {
    for (int64_t column = 0; column < columns; ++column) {
      const float* at = data + k * k_stride + column * column_stride;
      packed[k / per * padded + column] = Elements<T>::Make(*at, k + 1 < k_count && per == 2 ? at[k_stride] : 0.0f);
    }
  }
  return packed;
}

}  // namespace recserve
