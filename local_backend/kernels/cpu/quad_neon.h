// Four lanes of NEON on 64-bit Arm, with 4-byte dot products where the compiler may use them.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

namespace deepseek::ISA {

using FloatQuad = float32x4_t;
using IntegerQuad = int32x4_t;
constexpr int kQuadRegisters = 32;

namespace quad {

inline FloatQuad splat(float x) { return vdupq_n_f32(x); }
inline IntegerQuad integer_splat(int32_t x) { return vdupq_n_s32(x); }
inline FloatQuad load(const float* p) { return vld1q_f32(p); }
inline void store(float* p, FloatQuad x) { vst1q_f32(p, x); }
inline FloatQuad load_half(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
inline FloatQuad load_bfloat16(const uint16_t* p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
inline FloatQuad low_bfloat16(IntegerQuad pairs) { return vreinterpretq_f32_s32(vshlq_n_s32(pairs, 16)); }
inline FloatQuad high_bfloat16(IntegerQuad pairs) {
  return vreinterpretq_f32_s32(vandq_s32(pairs, vdupq_n_s32(static_cast<int32_t>(0xffff0000u))));
}
inline FloatQuad add(FloatQuad a, FloatQuad b) { return vaddq_f32(a, b); }
inline FloatQuad subtract(FloatQuad a, FloatQuad b) { return vsubq_f32(a, b); }
inline FloatQuad multiply(FloatQuad a, FloatQuad b) { return vmulq_f32(a, b); }
inline FloatQuad divide(FloatQuad a, FloatQuad b) { return vdivq_f32(a, b); }
inline FloatQuad multiply_add(FloatQuad a, FloatQuad b, FloatQuad c) { return vfmaq_f32(c, a, b); }
// The second operand where one is not a number, as on x86.
inline FloatQuad maximum(FloatQuad a, FloatQuad b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline FloatQuad minimum(FloatQuad a, FloatQuad b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
inline FloatQuad absolute(FloatQuad a) { return vabsq_f32(a); }
inline FloatQuad round_nearest(FloatQuad a) { return vrndnq_f32(a); }
inline float sum(FloatQuad a) { return vaddvq_f32(a); }
inline float largest(FloatQuad a) { return vmaxvq_f32(a); }
inline FloatQuad to_floats(IntegerQuad x) { return vcvtq_f32_s32(x); }
inline IntegerQuad to_integers(FloatQuad x) { return vcvtnq_s32_f32(x); }
inline FloatQuad power_of_two(FloatQuad n) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(to_integers(n), vdupq_n_s32(127)), 23));
}

inline IntegerQuad load_bytes(const uint8_t* p) { return vreinterpretq_s32_u8(vld1q_u8(p)); }
inline IntegerQuad low_nibbles(IntegerQuad x) { return vandq_s32(x, vdupq_n_s32(0x0f0f0f0f)); }
inline IntegerQuad high_nibbles(IntegerQuad x) { return vreinterpretq_s32_u8(vshrq_n_u8(vreinterpretq_u8_s32(x), 4)); }
inline IntegerQuad integer_add(IntegerQuad a, IntegerQuad b) { return vaddq_s32(a, b); }
inline int32_t integer_sum(IntegerQuad a) { return vaddvq_s32(a); }
inline void store_int8(int8_t* p, IntegerQuad x) {
  const int16x4_t words = vmovn_s32(x);
  const int8x8_t bytes = vmovn_s16(vcombine_s16(words, words));
  std::memcpy(p, &bytes, 4);
}
inline IntegerQuad load_int8(const int8_t* p) {
  int8x8_t bytes = vdup_n_s8(0);
  std::memcpy(&bytes, p, 4);
  return vmovl_s16(vget_low_s16(vmovl_s8(bytes)));
}

#if defined(__ARM_FEATURE_MATMUL_INT8)
inline IntegerQuad dot(IntegerQuad acc, IntegerQuad codes, IntegerQuad values) {
  return vusdotq_s32(acc, vreinterpretq_u8_s32(codes), vreinterpretq_s8_s32(values));
}
#elif defined(__ARM_FEATURE_DOTPROD)
// Codes are taken as signed, 128 lower, and 128 times the values is added.
inline IntegerQuad dot(IntegerQuad acc, IntegerQuad codes, IntegerQuad values) {
  const int8x16_t bytes = vreinterpretq_s8_s32(values), half = vdupq_n_s8(64);
  acc = vdotq_s32(vdotq_s32(acc, half, bytes), half, bytes);
  return vdotq_s32(acc, vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_s32(codes), vdupq_n_u8(128))), bytes);
}
#else
inline IntegerQuad dot(IntegerQuad acc, IntegerQuad codes, IntegerQuad values) {
  const uint8x16_t u = vreinterpretq_u8_s32(codes);
  const int8x16_t s = vreinterpretq_s8_s32(values);
  const int16x8_t low = vmulq_s16(vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(u))), vmovl_s8(vget_low_s8(s)));
  const int16x8_t high = vmulq_s16(vreinterpretq_s16_u16(vmovl_high_u8(u)), vmovl_high_s8(s));
  return vaddq_s32(acc, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
}
#endif

#if defined(__ARM_FEATURE_DOTPROD)
inline IntegerQuad dot_nibbles(IntegerQuad acc, IntegerQuad codes, IntegerQuad values) {
  return vdotq_s32(acc, vreinterpretq_s8_s32(codes), vreinterpretq_s8_s32(values));
}
#else
inline IntegerQuad dot_nibbles(IntegerQuad acc, IntegerQuad codes, IntegerQuad values) {
  const int8x16_t u = vreinterpretq_s8_s32(codes), s = vreinterpretq_s8_s32(values);
  const int16x8_t low = vmull_s8(vget_low_s8(u), vget_low_s8(s)), high = vmull_high_s8(u, s);
  return vpadalq_s16(acc, vpaddq_s16(low, high));
}
#endif

}  // namespace quad
}  // namespace deepseek::ISA
