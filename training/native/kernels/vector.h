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

// Sixteen bfloat16, each in the low half of a lane.
inline Ints LoadBits(const tensorflow::bfloat16* from) {
#if defined(__AVX512F__)
  return (Ints)_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#else
  typedef uint16_t Halves __attribute__((vector_size(32)));
  Halves halves;
  std::memcpy(&halves, from, sizeof(halves));
  return __builtin_convertvector(halves, Ints);
#endif
}

// bfloat16 is the upper half of a float.
inline Floats Load(const tensorflow::bfloat16* from) {
  const Ints bits = LoadBits(from) << 16;
  Floats result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

// Asks for memory that is read soon, where the next address does not follow from the last ones.
template <int kWrite = 0, typename T>
inline void Prefetch(const T* from, int64_t count) {
  constexpr int64_t kLineBytes = 64;
  const char* bytes = reinterpret_cast<const char*>(from);
  for (int64_t at = 0; at < count * static_cast<int64_t>(sizeof(T)); at += kLineBytes) __builtin_prefetch(bytes + at, kWrite);
}

template <typename T>
inline void PrefetchToWrite(T* to, int64_t count) {
  Prefetch<1>(to, count);
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

inline Ints LoadBits(const float* from) { return RoundedBits(Load(from)); }

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

// NaN stays NaN.
inline Floats Clamp(Floats x, float low, float high) {
#if defined(__AVX512F__)
  return (Floats)_mm512_min_ps((__m512)Splat(high), _mm512_max_ps((__m512)Splat(low), (__m512)x));
#else
  x = x < low ? Splat(low) : x;
  return x > high ? Splat(high) : x;
#endif
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

// The nearest integer, of |x| < 2^22.
inline Floats Round(Floats x) {
#if defined(__AVX512F__)
  return (Floats)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  return (x + 12582912.0f) - 12582912.0f;  // 1.5·2^23
#endif
}

// x · 2^n of an integer n in [-126, 127].
inline Floats TimesPowerOfTwo(Floats x, Floats n) {
#if defined(__AVX512F__)
  return (Floats)_mm512_scalef_ps((__m512)x, (__m512)n);
#else
  const Ints power = (__builtin_convertvector(n, Ints) + 127) << 23;  // the integer, biased, into the exponent
  Floats scale;
  std::memcpy(&scale, &power, sizeof(scale));
  return x * scale;
#endif
}

// e^(k·x) = 2^n · 2^r with |r| ≤ 1/2, of which a minimax polynomial: relative error below 1e-4 for bfloat16, else below
// 3e-7 and what the rounding of its argument makes, 6e-8·|k·x|. NaN stays NaN.
template <typename T>
inline Floats Exp(Floats x, float k = 1.0f) {
  constexpr float kLog2E = 1.44269504f;
  const Floats t = Clamp(x * (k * kLog2E), -125.5f, 127.0f), n = Round(t), r = t - n;
  Floats p;
  if constexpr (sizeof(T) == sizeof(tensorflow::bfloat16)) {
    p = Splat(0.05517167f);
    p = p * r + 0.24261113f;
    p = p * r + 0.69326099f;
    p = p * r + 0.99992807f;
  } else {
    p = Splat(0.00132764713f);
    p = p * r + 0.00967554096f;
    p = p * r + 0.0555071309f;
    p = p * r + 0.240221202f;
    p = p * r + 0.693146944f;
    p = p * r + 1.00000012f;
  }
  return TimesPowerOfTwo(p, n);
}

template <typename T>
inline Floats Sigmoid(Floats x) {
  return Reciprocal<T>(1.0f + Exp<T>(x, -1.0f));
}

template <typename T>
inline Floats Tanh(Floats x) {
  return 2.0f * Reciprocal<T>(1.0f + Exp<T>(x, -2.0f)) - 1.0f;
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
