// Any processor: four quarters of four lanes, which quad_neon.h or quad_generic.h brings.
#pragma once

#include <cstdint>

#if defined(__aarch64__) && defined(__ARM_NEON)
#include "quad_neon.h"
#else
#include "quad_generic.h"
#endif

namespace deepseek::ISA {

template <typename Quad>
struct Quarters {
  Quad a, b, c, d;
};
using Floats = Quarters<FloatQuad>;
using Integers = Quarters<IntegerQuad>;         // 16 int32, or 64 bytes
constexpr int kRegisters = kQuadRegisters / 4;  // Floats that fit at once

// f of every quarter, without a loop that a compiler may leave as one.
template <typename F, typename Q>
inline auto map(F f, const Quarters<Q>& x) {
  return Quarters<decltype(f(x.a))>{f(x.a), f(x.b), f(x.c), f(x.d)};
}
template <typename F, typename Q>
inline auto map(F f, const Quarters<Q>& x, const Quarters<Q>& y) {
  return Quarters<Q>{f(x.a, y.a), f(x.b, y.b), f(x.c, y.c), f(x.d, y.d)};
}
template <typename F, typename Q>
inline auto map(F f, const Quarters<Q>& x, const Quarters<Q>& y, const Quarters<Q>& z) {
  return Quarters<Q>{f(x.a, y.a, z.a), f(x.b, y.b, z.b), f(x.c, y.c, z.c), f(x.d, y.d, z.d)};
}
#define DEEPSEEK_EACH(operation, ...) map([](auto... quads) { return quad::operation(quads...); }, __VA_ARGS__)

inline Floats splat(float x) {
  const FloatQuad quad = quad::splat(x);
  return {quad, quad, quad, quad};
}
inline Floats zeros() { return splat(0.0f); }
inline Floats load(const float* p) { return {quad::load(p), quad::load(p + 4), quad::load(p + 8), quad::load(p + 12)}; }
inline void store(float* p, const Floats& x) {
  quad::store(p, x.a);
  quad::store(p + 4, x.b);
  quad::store(p + 8, x.c);
  quad::store(p + 12, x.d);
}
inline Floats load_half(const uint16_t* p) {
  return {quad::load_half(p), quad::load_half(p + 4), quad::load_half(p + 8), quad::load_half(p + 12)};
}
inline Floats load_bfloat16(const uint16_t* p) {
  return {quad::load_bfloat16(p), quad::load_bfloat16(p + 4), quad::load_bfloat16(p + 8), quad::load_bfloat16(p + 12)};
}
// Of sixteen pairs of bfloat16, the one in the low half of each 32 bits, and the one in the high half.
inline Floats low_bfloat16(const Integers& pairs) { return DEEPSEEK_EACH(low_bfloat16, pairs); }
inline Floats high_bfloat16(const Integers& pairs) { return DEEPSEEK_EACH(high_bfloat16, pairs); }
inline Floats add(const Floats& a, const Floats& b) { return DEEPSEEK_EACH(add, a, b); }
inline Floats subtract(const Floats& a, const Floats& b) { return DEEPSEEK_EACH(subtract, a, b); }
inline Floats multiply(const Floats& a, const Floats& b) { return DEEPSEEK_EACH(multiply, a, b); }
inline Floats divide(const Floats& a, const Floats& b) { return DEEPSEEK_EACH(divide, a, b); }
inline Floats multiply_add(const Floats& a, const Floats& b, const Floats& c) {
  return DEEPSEEK_EACH(multiply_add, a, b, c);
}
inline Floats maximum(const Floats& a, const Floats& b) { return DEEPSEEK_EACH(maximum, a, b); }
inline Floats minimum(const Floats& a, const Floats& b) { return DEEPSEEK_EACH(minimum, a, b); }
inline Floats absolute(const Floats& a) { return DEEPSEEK_EACH(absolute, a); }
inline Floats round_nearest(const Floats& a) { return DEEPSEEK_EACH(round_nearest, a); }
inline float sum(const Floats& a) { return quad::sum(quad::add(quad::add(a.a, a.b), quad::add(a.c, a.d))); }
inline float largest(const Floats& a) {
  return quad::largest(quad::maximum(quad::maximum(a.a, a.b), quad::maximum(a.c, a.d)));
}
// 2^n for integral n in [-126, 127].
inline Floats power_of_two(const Floats& n) { return DEEPSEEK_EACH(power_of_two, n); }

inline Integers integer_splat(int32_t x) {
  const IntegerQuad quad = quad::integer_splat(x);
  return {quad, quad, quad, quad};
}
inline Integers integer_zeros() { return integer_splat(0); }
inline Integers load_bytes(const void* p) {
  const uint8_t* bytes = static_cast<const uint8_t*>(p);
  return {quad::load_bytes(bytes), quad::load_bytes(bytes + 16), quad::load_bytes(bytes + 32),
          quad::load_bytes(bytes + 48)};
}
inline Integers low_nibbles(const Integers& x) { return DEEPSEEK_EACH(low_nibbles, x); }
inline Integers high_nibbles(const Integers& x) { return DEEPSEEK_EACH(high_nibbles, x); }
inline Integers integer_add(const Integers& a, const Integers& b) { return DEEPSEEK_EACH(integer_add, a, b); }
inline int32_t integer_sum(const Integers& a) {
  return quad::integer_sum(quad::integer_add(quad::integer_add(a.a, a.b), quad::integer_add(a.c, a.d)));
}
inline Floats to_floats(const Integers& x) { return DEEPSEEK_EACH(to_floats, x); }
inline Integers to_integers(const Floats& x) { return DEEPSEEK_EACH(to_integers, x); }  // to nearest
// Stores sixteen int32 in [-128, 127] as int8.
inline void store_int8(int8_t* p, const Integers& x) {
  quad::store_int8(p, x.a);
  quad::store_int8(p + 4, x.b);
  quad::store_int8(p + 8, x.c);
  quad::store_int8(p + 12, x.d);
}
// Sixteen int8 widened.
inline Integers load_int8(const int8_t* p) {
  return {quad::load_int8(p), quad::load_int8(p + 4), quad::load_int8(p + 8), quad::load_int8(p + 12)};
}
// acc[i] += sum over j < 4 of codes[4 i + j] (uint8) * values[4 i + j] (int8), exact.
inline Integers dot(const Integers& acc, const Integers& codes, const Integers& values) {
  return DEEPSEEK_EACH(dot, acc, codes, values);
}
// The same for codes below 16, where narrower steps cannot overflow.
inline Integers dot_nibbles(const Integers& acc, const Integers& codes, const Integers& values) {
  return DEEPSEEK_EACH(dot_nibbles, acc, codes, values);
}

#undef DEEPSEEK_EACH

}  // namespace deepseek::ISA
