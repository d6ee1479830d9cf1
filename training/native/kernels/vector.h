// Sixteen floats at once, in the compiler's own vectors: one register with AVX-512, two with AVX2.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "tensorflow/core/framework/types.h"

namespace recserve {

constexpr int kLanes = 16;
typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));

inline Floats Load(const float* from) {
  Floats result;
  std::memcpy(&result, from, sizeof(result));
  return result;
}

inline void Store(Floats values, float* to) { std::memcpy(to, &values, sizeof(values)); }

// bfloat16 is the upper half of a float.
inline Floats Load(const tensorflow::bfloat16* from) {
  typedef uint16_t Halves __attribute__((vector_size(32)));
  Halves halves;
  std::memcpy(&halves, from, sizeof(halves));
  const Ints bits = __builtin_convertvector(halves, Ints) << 16;
  Floats result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

// The bits of the nearest bfloat16, ties to even, in the low half of each lane. Values are activations and gradients: NaN
// stays NaN, as its high bits are set.
inline Ints RoundedBits(Floats values) {
#if defined(__AVX512BF16__)
  return (Ints)_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)values));
#else
  Ints bits;
  std::memcpy(&bits, &values, sizeof(bits));
  return ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) & 0xffff;
#endif
}

inline void Store(Floats values, tensorflow::bfloat16* to) {
#if defined(__AVX512BF16__)
  const __m256bh halves = _mm512_cvtneps_pbh((__m512)values);
#else
  typedef uint16_t Halves __attribute__((vector_size(32)));
  const Halves halves = __builtin_convertvector(RoundedBits(values), Halves);
#endif
  std::memcpy(to, &halves, sizeof(halves));
}

template <typename T>
inline void Accumulate(Floats values, T* to) {
  Store(Load(to) + values, to);
}

inline Floats Splat(float value) { return Floats{} + value; }

inline Floats Clamp(Floats x, float low, float high) {
  x = x < low ? Splat(low) : x;
  return x > high ? Splat(high) : x;
}

// 1/x, relative error below 2e-7; for bfloat16 below 2^-14 where the processor has an estimate.
template <typename T>
inline Floats Reciprocal(Floats x) {
#if defined(__AVX512F__)
  const Floats estimate = (Floats)_mm512_rcp14_ps((__m512)x);
  if constexpr (sizeof(T) == sizeof(tensorflow::bfloat16)) return estimate;
  return estimate * (2.0f - x * estimate);
#else
  return 1.0f / x;
#endif
}

// e^x: 2^n · e^r with |r| ≤ ln2/2 and a Taylor polynomial: of degree 6, relative error below 4e-7; for bfloat16 of degree
// 4, below 5e-5. NaN stays NaN.
template <typename T>
inline Floats Exp(Floats x) {
  x = Clamp(x, -87.0f, 88.0f);
  const Floats shifted = x * 1.44269504f + 12582912.0f;  // 1.5·2^23: rounds to an integer in the low bits
  const Floats n = shifted - 12582912.0f;
  const Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Floats p = Splat(1.0f / 24.0f);
  if constexpr (sizeof(T) > sizeof(tensorflow::bfloat16)) {
    p = Splat(1.0f / 720.0f);
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
  }
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  Ints power;
  std::memcpy(&power, &shifted, sizeof(power));
  power = (power + 127) << 23;  // the integer, biased, into the exponent
  Floats scale;
  std::memcpy(&scale, &power, sizeof(scale));
  return p * scale;
}

template <typename T>
inline Floats Sigmoid(Floats x) {
  return Reciprocal<T>(1.0f + Exp<T>(-x));
}

template <typename T>
inline Floats Tanh(Floats x) {
  return 2.0f * Reciprocal<T>(1.0f + Exp<T>(-2.0f * x)) - 1.0f;
}

inline float Sum(Floats x) {
  typedef float Eight __attribute__((vector_size(32)));
  typedef float Four __attribute__((vector_size(16)));
  Eight halves[2];
  std::memcpy(halves, &x, sizeof(x));
  const Eight eight = halves[0] + halves[1];
  Four quarters[2];
  std::memcpy(quarters, &eight, sizeof(eight));
  const Four four = quarters[0] + quarters[1];
  return (four[0] + four[2]) + (four[1] + four[3]);
}

}  // namespace recserve
