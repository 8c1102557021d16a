// The inner product of everything: a few blocks of 16 weight rows times a few rows of activations.
//
// Codes are multiplied as integers within a group of 32 and summed over groups as floats, in the same order
// whatever the tile, so a row of activations gives the same result alone and among others.
#pragma once

#include <cstdint>

#include "matrix.h"
#include "quantized_rows.h"
#include "simd.h"

namespace deepseek::ISA {

// How far ahead of the multiplication memory is asked for, in groups of one block: some nine kilobytes, which
// with four blocks at a time keeps enough requests under way to fill the memory bus.
constexpr int64_t kGroupsAhead = 32;

template <int kBits, bool kMinimum>
constexpr int64_t kGroupBytes = (kBits == 4 ? 256 : 512) + (kMinimum ? 64 : 32);

// The codes of 16 rows and 32 columns, in the order of four-column steps that they are stored in.
template <int kBits>
struct Codes;

template <>
struct Codes<4> {
  Integers step[8];
  explicit Codes(const uint8_t* p) {
    for (int vector = 0; vector < 4; ++vector) {
      const Integers pair = load_bytes(p + 64 * vector);
      step[2 * vector] = low_nibbles(pair);
      step[2 * vector + 1] = high_nibbles(pair);
    }
  }
};

template <>
struct Codes<8> {
  Integers step[8];
  explicit Codes(const uint8_t* p) {
    for (int vector = 0; vector < 8; ++vector) step[vector] = load_bytes(p + 64 * vector);
  }
};

template <int kBits, bool kMinimum>
inline Integers multiply_group(const Codes<kBits>& codes, const QuantizedGroup& x) {
  const int32_t* fours = reinterpret_cast<const int32_t*>(x.codes);
  Integers even = integer_zeros(), odd = integer_zeros();
  if constexpr (kBits == 8) {
    even = integer_splat(x.minus_128);
    for (int step = 0; step < 8; step += 2) {
      even = dot(even, codes.step[step], integer_splat(fours[step]));
      odd = dot(odd, codes.step[step + 1], integer_splat(fours[step + 1]));
    }
  } else {
    if constexpr (!kMinimum) even = integer_splat(x.minus_8);
    for (int step = 0; step < 8; step += 2) {
      even = dot_nibbles(even, codes.step[step], integer_splat(fours[step]));
      odd = dot_nibbles(odd, codes.step[step + 1], integer_splat(fours[step + 1]));
    }
  }
  return integer_add(even, odd);
}

// out[block][token] = sum over the columns, without the rows' units.
//
// first is the first block; blocks follow one another block_bytes apart, as do strips of kBlocks of them.
template <int kBits, bool kMinimum, int kBlocks, int kTokens>
inline void multiply_tile(const uint8_t* first, int64_t block_bytes, int64_t num_groups,
                          const QuantizedGroup* const* tokens, Floats (&out)[kBlocks][kTokens]) {
  constexpr int64_t kBytes = kGroupBytes<kBits, kMinimum>;
  for (auto& row : out) {
    for (auto& cell : row) cell = zeros();
  }
  for (int64_t group = 0; group < num_groups; ++group) {
    const bool next_strip = group + kGroupsAhead >= num_groups;
    const int64_t ahead = kGroupsAhead * kBytes + (next_strip ? (kBlocks - 1) * block_bytes : 0);
#pragma GCC unroll 4
    for (int block = 0; block < kBlocks; ++block) {
      const uint8_t* p = first + block * block_bytes + group * kBytes;
      for (int64_t line = 0; line < kBytes; line += 64) __builtin_prefetch(p + ahead + line, 0, 2);
      const Codes<kBits> codes(p);
      const uint16_t* halves = reinterpret_cast<const uint16_t*>(p + (kBits == 4 ? 256 : 512));
      const Floats scale = load_half(halves);
      const Floats minimum = kMinimum ? load_half(halves + 16) : zeros();
#pragma GCC unroll 16
      for (int token = 0; token < kTokens; ++token) {
        const QuantizedGroup& x = tokens[token][group];
        const Floats product = to_floats(multiply_group<kBits, kMinimum>(codes, x));
        out[block][token] = multiply_add(product, multiply(scale, splat(x.scale)), out[block][token]);
        if constexpr (kMinimum) out[block][token] = multiply_add(minimum, splat(x.sum), out[block][token]);
      }
    }
  }
}

}  // namespace deepseek::ISA
