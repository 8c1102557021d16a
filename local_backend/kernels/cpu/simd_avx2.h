// AVX2 with FMA and F16C: two registers per sixteen lanes. Four-byte dot products by AVX-VNNI where there is one.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace deepseek::ISA {

// Lanes 0..7 and 8..15.
struct Floats {
  __m256 low, high;
};
// 16 int32, or 64 bytes.
struct Integers {
  __m256i low, high;
};
constexpr int kRegisters = 8;  // Floats that fit at once

inline Floats zeros() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline Floats splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Floats load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, Floats x) {
  _mm256_storeu_ps(p, x.low);
  _mm256_storeu_ps(p + 8, x.high);
}
inline __m128i load_8_halves(const uint16_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
inline Floats load_half(const uint16_t* p) {
  return {_mm256_cvtph_ps(load_8_halves(p)), _mm256_cvtph_ps(load_8_halves(p + 8))};
}
inline __m256 widen_8_bfloat16(__m128i x) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}
inline Floats load_bfloat16(const uint16_t* p) {
  return {widen_8_bfloat16(load_8_halves(p)), widen_8_bfloat16(load_8_halves(p + 8))};
}
// Of sixteen pairs of bfloat16, the one in the low half of each 32 bits, and the one in the high half.
inline Floats low_bfloat16(Integers pairs) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(pairs.low, 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(pairs.high, 16))};
}
inline Floats high_bfloat16(Integers pairs) {
  const __m256i mask = _mm256_set1_epi32(static_cast<int32_t>(0xffff0000u));
  return {_mm256_castsi256_ps(_mm256_and_si256(pairs.low, mask)),
          _mm256_castsi256_ps(_mm256_and_si256(pairs.high, mask))};
}
inline Floats add(Floats a, Floats b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
inline Floats subtract(Floats a, Floats b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
inline Floats multiply(Floats a, Floats b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
inline Floats divide(Floats a, Floats b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
inline Floats multiply_add(Floats a, Floats b, Floats c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline Floats maximum(Floats a, Floats b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
inline Floats minimum(Floats a, Floats b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
inline Floats absolute(Floats a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high)};
}
inline Floats round_nearest(Floats a) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.low, kNearest), _mm256_round_ps(a.high, kNearest)};
}
inline __m128 fold_halves(__m256 x) { return _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)); }
inline float sum(Floats a) {
  __m128 x = fold_halves(_mm256_add_ps(a.low, a.high));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
inline float largest(Floats a) {
  const __m256 eight = _mm256_max_ps(a.low, a.high);
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
inline __m256 power_of_two(__m256 n) {
  const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
}
// 2^n for integral n in [-126, 127].
inline Floats power_of_two(Floats n) { return {power_of_two(n.low), power_of_two(n.high)}; }

inline Integers integer_zeros() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
inline Integers integer_splat(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
inline Integers load_bytes(const void* p) {
  const __m256i* vectors = static_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(vectors), _mm256_loadu_si256(vectors + 1)};
}
inline Integers low_nibbles(Integers x) {
  const __m256i mask = _mm256_set1_epi8(15);
  return {_mm256_and_si256(x.low, mask), _mm256_and_si256(x.high, mask)};
}
inline Integers high_nibbles(Integers x) {
  return low_nibbles({_mm256_srli_epi16(x.low, 4), _mm256_srli_epi16(x.high, 4)});
}
inline Integers integer_add(Integers a, Integers b) {
  return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
}
inline int32_t integer_sum(Integers a) {
  const __m256i eight = _mm256_add_epi32(a.low, a.high);
  __m128i x = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  x = _mm_add_epi32(x, _mm_shuffle_epi32(x, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32(x, 0xb1)));
}
inline Floats to_floats(Integers x) { return {_mm256_cvtepi32_ps(x.low), _mm256_cvtepi32_ps(x.high)}; }
// To nearest.
inline Integers to_integers(Floats x) { return {_mm256_cvtps_epi32(x.low), _mm256_cvtps_epi32(x.high)}; }
// Stores sixteen int32 in [-128, 127] as int8.
inline void store_int8(int8_t* p, Integers x) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.low, x.high), 0xd8);
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
}
// Sixteen int8 widened.
inline Integers load_int8(const int8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes))};
}

#if defined(__AVXVNNI__)
inline __m256i dot(__m256i acc, __m256i codes, __m256i values) { return _mm256_dpbusd_avx_epi32(acc, codes, values); }
inline __m256i dot_nibbles(__m256i acc, __m256i codes, __m256i values) { return dot(acc, codes, values); }
#else
// Pairs of products are summed in 16 bits with saturation, so the codes' highest bits are multiplied apart:
// neither 2 * 127 * -128 nor 2 * 128 * -128 leaves 16 bits.
inline __m256i dot(__m256i acc, __m256i codes, __m256i values) {
  const __m256i top = _mm256_set1_epi8(-128), ones = _mm256_set1_epi16(1);
  const __m256i rest = _mm256_maddubs_epi16(_mm256_andnot_si256(top, codes), values);
  const __m256i tops = _mm256_maddubs_epi16(_mm256_and_si256(top, codes), values);
  acc = _mm256_add_epi32(acc, _mm256_madd_epi16(rest, ones));
  return _mm256_add_epi32(acc, _mm256_madd_epi16(tops, ones));
}
inline __m256i dot_nibbles(__m256i acc, __m256i codes, __m256i values) {
  const __m256i pairs = _mm256_maddubs_epi16(codes, values);
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
#endif
// acc[i] += sum over j < 4 of codes[4 i + j] (uint8) * values[4 i + j] (int8), exact.
inline Integers dot(Integers acc, Integers codes, Integers values) {
  return {dot(acc.low, codes.low, values.low), dot(acc.high, codes.high, values.high)};
}
// The same for codes below 16, where narrower steps cannot overflow.
inline Integers dot_nibbles(Integers acc, Integers codes, Integers values) {
  return {dot_nibbles(acc.low, codes.low, values.low), dot_nibbles(acc.high, codes.high, values.high)};
}

}  // namespace deepseek::ISA
