// Tiles turned into values: four positions of one number side by side, as a weighted sum over positions wants.
#pragma once

#include <cstring>

#include "latent_cache.h"
#include "simd.h"

namespace deepseek::ISA {

constexpr int kSpanTiles = 16;                              // tiles whose weights share a scale
constexpr int kSpan = kSpanTiles * kTile;                   // the same in positions
constexpr int kValueVectors = 4;                            // vectors of 16 numbers that are summed together
constexpr int64_t kSlabBytes = kSpan * 16 * kValueVectors;  // values of 64 numbers over a span

typedef uint8_t SixteenBytes __attribute__((vector_size(16)));

// Byte 4 i + j of the result is byte 4 j + i of x.
inline SixteenBytes transpose_four(SixteenBytes x) {
#if defined(__clang__)
  return __builtin_shufflevector(x, x, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
#else
  constexpr SixteenBytes order = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
  return __builtin_shuffle(x, order);
#endif
}

// x + 128 or x - 128, which is the same in a byte.
inline SixteenBytes other_sign(SixteenBytes x) { return x ^ 0x80; }

// Bytes that the values of a span take; `numbers` of a position, a multiple of 16.
inline int64_t value_bytes(int64_t numbers) {
  return (numbers + 16 * kValueVectors - 1) / (16 * kValueVectors) * kSlabBytes;
}

// Where the values of 16 numbers and four positions lie: 64 bytes, byte 4 i + j being position j's number i.
inline uint8_t* value_vector(uint8_t* values, int64_t vector, int64_t four_positions) {
  return values + vector / kValueVectors * kSlabBytes + (four_positions * kValueVectors + vector % kValueVectors) * 64;
}

// Four positions of 16 numbers, of which codes (4, 16, 4) hold all sixteen positions plus 128, as int8 values.
inline void put_vector(const uint8_t* codes, int four, uint8_t* out) {
#if defined(__AVX512BW__)
  const auto part = [&](int index) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + 64 * index + 16 * four));
  };
  __m512i x = _mm512_castsi128_si512(part(0));
  x = _mm512_inserti32x4(x, part(1), 1);
  x = _mm512_inserti32x4(x, part(2), 2);
  x = _mm512_inserti32x4(x, part(3), 3);
  const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  x = _mm512_xor_si512(_mm512_shuffle_epi8(x, order), _mm512_set1_epi8(-128));
  _mm512_storeu_si512(out, x);
#else
  for (int part = 0; part < 4; ++part) {
    SixteenBytes x;
    std::memcpy(&x, codes + 64 * part + 16 * four, 16);
    x = other_sign(transpose_four(x));
    std::memcpy(out + 16 * part, &x, 16);
  }
#endif
}

// Codes (numbers / 4, 16, 4) of the span's tile `index`, plus 128, as int8 values.
inline void put_values(const uint8_t* codes, int64_t numbers, int64_t index, uint8_t* values) {
  for (int64_t vector = 0; vector < numbers / 16; ++vector) {
    uint8_t* out = value_vector(values, vector, 4 * index);
    for (int four = 0; four < 4; ++four) put_vector(codes + 256 * vector, four, out + four * kValueVectors * 64);
  }
}

}  // namespace deepseek::ISA
