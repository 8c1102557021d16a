// Four lanes in the vector extensions of GCC and Clang, which turn them into what the processor has.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace deepseek::ISA {

typedef float FloatQuad __attribute__((vector_size(16)));
typedef int32_t IntegerQuad __attribute__((vector_size(16)));
typedef uint32_t UnsignedQuad __attribute__((vector_size(16)));
typedef int16_t WordEight __attribute__((vector_size(16)));
constexpr int kQuadRegisters = 16;

namespace quad {

// The bits of x as those of another type.
template <typename To, typename From>
inline To bits(From x) {
  return std::bit_cast<To>(x);
}
// Where mask is all ones a, where it is zero b.
inline FloatQuad choose(IntegerQuad mask, FloatQuad a, FloatQuad b) {
  return bits<FloatQuad>((mask & bits<IntegerQuad>(a)) | (~mask & bits<IntegerQuad>(b)));
}
template <typename Quad>
inline Quad load_bits(const void* p) {
  Quad quad;
  std::memcpy(&quad, p, sizeof(quad));
  return quad;
}
inline IntegerQuad widen_4_words(const uint16_t* p) { return IntegerQuad{p[0], p[1], p[2], p[3]}; }

inline FloatQuad splat(float x) { return FloatQuad{x, x, x, x}; }
inline IntegerQuad integer_splat(int32_t x) { return IntegerQuad{x, x, x, x}; }
inline FloatQuad load(const float* p) { return load_bits<FloatQuad>(p); }
inline void store(float* p, FloatQuad x) { std::memcpy(p, &x, sizeof(x)); }
// The exponent is moved from a bias of 15 to one of 127 by a product, which also makes subnormals normal.
inline FloatQuad load_half(const uint16_t* p) {
  const IntegerQuad halves = widen_4_words(p);
  const IntegerQuad magnitude = halves & 0x7fff, sign = (halves & 0x8000) << 16;
  const IntegerQuad not_finite = (magnitude >= 0x7c00) & 0x7f800000;
  const FloatQuad scaled = bits<FloatQuad>(magnitude << 13) * splat(0x1p112f);
  return bits<FloatQuad>(bits<IntegerQuad>(scaled) | sign | not_finite);
}
inline FloatQuad load_bfloat16(const uint16_t* p) { return bits<FloatQuad>(widen_4_words(p) << 16); }
inline FloatQuad low_bfloat16(IntegerQuad pairs) { return bits<FloatQuad>(pairs << 16); }
inline FloatQuad high_bfloat16(IntegerQuad pairs) { return bits<FloatQuad>((pairs >> 16) << 16); }
inline FloatQuad add(FloatQuad a, FloatQuad b) { return a + b; }
inline FloatQuad subtract(FloatQuad a, FloatQuad b) { return a - b; }
inline FloatQuad multiply(FloatQuad a, FloatQuad b) { return a * b; }
inline FloatQuad divide(FloatQuad a, FloatQuad b) { return a / b; }
inline FloatQuad multiply_add(FloatQuad a, FloatQuad b, FloatQuad c) { return a * b + c; }
// The second operand where one is not a number, as on x86.
inline FloatQuad maximum(FloatQuad a, FloatQuad b) { return choose(a > b, a, b); }
inline FloatQuad minimum(FloatQuad a, FloatQuad b) { return choose(a < b, a, b); }
inline FloatQuad absolute(FloatQuad a) { return bits<FloatQuad>(bits<IntegerQuad>(a) & 0x7fffffff); }
// Adding 2^23 with the number's sign leaves no bits for a fraction; larger numbers have none.
inline FloatQuad round_nearest(FloatQuad a) {
  const IntegerQuad sign = bits<IntegerQuad>(a) & integer_splat(INT32_MIN);
  const FloatQuad large = bits<FloatQuad>(bits<IntegerQuad>(splat(0x1p23f)) | sign);
  const FloatQuad rounded = (a + large) - large;
  return choose(absolute(a) < splat(0x1p23f), rounded, a);
}
inline float sum(FloatQuad a) { return (a[0] + a[2]) + (a[1] + a[3]); }
inline float largest(FloatQuad a) {
  const float even = a[0] > a[2] ? a[0] : a[2], odd = a[1] > a[3] ? a[1] : a[3];
  return even > odd ? even : odd;
}
inline FloatQuad to_floats(IntegerQuad x) { return __builtin_convertvector(x, FloatQuad); }
#if defined(__SSE2__)
inline IntegerQuad to_integers(FloatQuad x) { return bits<IntegerQuad>(_mm_cvtps_epi32(bits<__m128>(x))); }
#else
inline IntegerQuad to_integers(FloatQuad x) { return __builtin_convertvector(round_nearest(x), IntegerQuad); }
#endif
inline FloatQuad power_of_two(FloatQuad n) { return bits<FloatQuad>((to_integers(n) + 127) << 23); }

inline IntegerQuad load_bytes(const uint8_t* p) { return load_bits<IntegerQuad>(p); }
inline IntegerQuad low_nibbles(IntegerQuad x) { return x & 0x0f0f0f0f; }
inline IntegerQuad high_nibbles(IntegerQuad x) { return (x >> 4) & 0x0f0f0f0f; }
inline IntegerQuad integer_add(IntegerQuad a, IntegerQuad b) { return a + b; }
inline int32_t integer_sum(IntegerQuad a) { return (a[0] + a[2]) + (a[1] + a[3]); }
inline void store_int8(int8_t* p, IntegerQuad x) {
  for (int lane = 0; lane < 4; ++lane) p[lane] = static_cast<int8_t>(x[lane]);
}
inline IntegerQuad load_int8(const int8_t* p) { return IntegerQuad{p[0], p[1], p[2], p[3]}; }

// Bytes 0, 2, 4, … (or 1, 3, 5, … moved down by 8 bits) as 16-bit numbers, unsigned and signed.
inline WordEight even_unsigned(IntegerQuad x) { return bits<WordEight>(x & 0x00ff00ff); }
inline WordEight even_signed(IntegerQuad x) { return (bits<WordEight>(x) << 8) >> 8; }
inline WordEight odd_signed(IntegerQuad x) { return bits<WordEight>(x) >> 8; }

// The sum of each two neighbouring products, in 32 bits.
inline IntegerQuad multiply_pairs(WordEight a, WordEight b) {
#if defined(__SSE2__)
  return bits<IntegerQuad>(_mm_madd_epi16(bits<__m128i>(a), bits<__m128i>(b)));
#else
  const IntegerQuad products = bits<IntegerQuad>(a * b);  // of a byte and a byte: within 16 bits
  return ((products << 16) >> 16) + (products >> 16);
#endif
}
inline IntegerQuad dot(IntegerQuad acc, IntegerQuad codes, IntegerQuad values) {
  const IntegerQuad odd = bits<IntegerQuad>(bits<UnsignedQuad>(codes) >> 8);
  return acc + multiply_pairs(even_unsigned(codes), even_signed(values)) +
         multiply_pairs(even_unsigned(odd), odd_signed(values));
}
inline IntegerQuad dot_nibbles(IntegerQuad acc, IntegerQuad codes, IntegerQuad values) {
  return dot(acc, codes, values);
}

}  // namespace quad
}  // namespace deepseek::ISA
