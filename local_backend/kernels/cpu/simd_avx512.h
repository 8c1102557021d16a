// AVX-512 with VNNI: one register per sixteen lanes.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace deepseek::ISA {

using Floats = __m512;          // 16 float32
using Integers = __m512i;       // 16 int32, or 64 bytes
constexpr int kRegisters = 32;  // Floats that fit at once

inline Floats zeros() { return _mm512_setzero_ps(); }
inline Floats splat(float x) { return _mm512_set1_ps(x); }
inline Floats load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Floats x) { _mm512_storeu_ps(p, x); }
inline Floats load_half(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Floats load_bfloat16(const uint16_t* p) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
// Of sixteen pairs of bfloat16, the one in the low half of each 32 bits, and the one in the high half.
inline Floats low_bfloat16(Integers pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); }
inline Floats high_bfloat16(Integers pairs) {
  return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int32_t>(0xffff0000u))));
}
inline Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
inline Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats divide(Floats a, Floats b) { return _mm512_div_ps(a, b); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats maximum(Floats a, Floats b) { return _mm512_max_ps(a, b); }
inline Floats minimum(Floats a, Floats b) { return _mm512_min_ps(a, b); }
inline Floats absolute(Floats a) { return _mm512_abs_ps(a); }
inline Floats round_nearest(Floats a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT); }
inline float sum(Floats a) { return _mm512_reduce_add_ps(a); }
inline float largest(Floats a) { return _mm512_reduce_max_ps(a); }
// 2^n for integral n in [-126, 127].
inline Floats power_of_two(Floats n) {
  const __m512i biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
  return _mm512_castsi512_ps(_mm512_slli_epi32(biased, 23));
}

inline Integers integer_zeros() { return _mm512_setzero_si512(); }
inline Integers integer_splat(int32_t x) { return _mm512_set1_epi32(x); }
inline Integers load_bytes(const void* p) { return _mm512_loadu_si512(p); }
inline Integers low_nibbles(Integers x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
inline Integers high_nibbles(Integers x) { return low_nibbles(_mm512_srli_epi16(x, 4)); }
inline Integers integer_add(Integers a, Integers b) { return _mm512_add_epi32(a, b); }
inline int32_t integer_sum(Integers a) { return _mm512_reduce_add_epi32(a); }
inline Floats to_floats(Integers x) { return _mm512_cvtepi32_ps(x); }
inline Integers to_integers(Floats x) { return _mm512_cvtps_epi32(x); }  // to nearest
// Stores sixteen int32 in [-128, 127] as int8.
inline void store_int8(int8_t* p, Integers x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x));
}
// Sixteen int8 widened.
inline Integers load_int8(const int8_t* p) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
// acc[i] += sum over j < 4 of codes[4 i + j] (uint8) * values[4 i + j] (int8), exact.
inline Integers dot(Integers acc, Integers codes, Integers values) { return _mm512_dpbusd_epi32(acc, codes, values); }
// The same for codes below 16, where narrower steps cannot overflow.
inline Integers dot_nibbles(Integers acc, Integers codes, Integers values) {
  return _mm512_dpbusd_epi32(acc, codes, values);
}

}  // namespace deepseek::ISA
