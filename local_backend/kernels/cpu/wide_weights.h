// Weights rounded anew for many rows: int8 with a unit for every 128 columns of a row.
//
// Between such units there are 32 dot products and no conversion, where the form that weights are stored in has 8 of
// them for every four other instructions. The new rounding adds some 0.7 % of noise to a weight.
#pragma once

#include "matrix.h"
#include "product_tile.h"
#include "scratch.h"
#include "simd.h"
#include "wide_rows.h"

namespace deepseek::ISA {

#if defined(__AVX512VNNI__)
constexpr bool kHasWide = true;

inline Integers byte_of(Integers x, int index) {
  return _mm512_and_si512(_mm512_srli_epi32(x, 8 * index), _mm512_set1_epi32(255));
}

inline Integers put_byte(Integers x, Integers byte, int index) {
  return _mm512_or_si512(x, _mm512_slli_epi32(byte, 8 * index));
}

inline void store_bytes(uint8_t* p, Integers x) { _mm512_storeu_si512(p, x); }
#else
constexpr bool kHasWide = false;  // other processors have too few registers for it to pay

inline Integers byte_of(Integers x, int) { return x; }
inline Integers put_byte(Integers x, Integers, int) { return x; }
inline void store_bytes(uint8_t*, Integers) {}
#endif

// Whether so many rows are multiplied faster with a matrix rounded anew.
inline bool wide_pays(const Matrix& weight, int64_t num_tokens) {
  return kHasWide && num_tokens >= kFewestWideRows && weight.columns % kWide == 0 && weight.rows % kBlockRows == 0;
}

// Some blocks of 16 rows: codes are the number plus 128, in vectors of four columns of 16 rows.
class WideBlocks {
 public:
  // Memory comes from `scratch`, reserve(bytes(...)) before.
  WideBlocks(Scratch& scratch, const Matrix& weight, int64_t max_blocks)
      : weight_(weight),
        num_groups_(weight.columns / kWide),
        codes_(scratch.take<uint8_t>(max_blocks * weight.columns * kBlockRows)),
        unit_(scratch.take<float>(max_blocks * num_groups_ * kBlockRows)) {}

  static size_t bytes(const Matrix& weight, int64_t max_blocks) {
    return max_blocks * kBlockRows * (weight.columns + weight.columns / kWide * sizeof(float)) + 128;
  }

  int64_t num_groups() const { return num_groups_; }
  const uint8_t* codes(int64_t block, int64_t group) const {
    return codes_ + (block * num_groups_ + group) * kWide * kBlockRows;
  }
  const float* unit(int64_t block, int64_t group) const { return unit_ + (block * num_groups_ + group) * kBlockRows; }

  // Rounds blocks [first, last) of the matrix.
  void round(int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      if (weight_.bits == 4 && weight_.has_minimum) {
        round_block<4, true>(block, block - first);
      } else if (weight_.bits == 4) {
        round_block<4, false>(block, block - first);
      } else if (weight_.has_minimum) {
        round_block<8, true>(block, block - first);
      } else {
        round_block<8, false>(block, block - first);
      }
    }
  }

 private:
  static constexpr int kParts = kWide / kGroup;  // stored groups of a wide one

  // What a stored group's codes become: factor * code + offset.
  struct Line {
    Floats factor, offset;
  };

  template <int kBits, bool kMinimum>
  void round_block(int64_t block, int64_t place) {
    constexpr int64_t kBytes = kGroupBytes<kBits, kMinimum>;
    const uint8_t* source = weight_.blocks + block * weight_.block_bytes();
    const Floats row_unit = load(weight_.unit + block * kBlockRows);
    for (int64_t group = 0; group < num_groups_; ++group, source += kParts * kBytes) {
      Line lines[kParts];
      const Floats most = read_lines<kBits, kMinimum>(source, lines);
      const Floats inverse = divide(splat(127.0f), most);
      store(unit_ + (place * num_groups_ + group) * kBlockRows,
            multiply(multiply(most, splat(1.0f / 127.0f)), row_unit));
      uint8_t* out = codes_ + (place * num_groups_ + group) * kWide * kBlockRows;
      for (int part = 0; part < kParts; ++part) {
        const Floats factor = multiply(lines[part].factor, inverse);
        const Floats offset = multiply_add(lines[part].offset, inverse, splat(128.0f));
        const Codes<kBits> codes(source + part * kBytes);
        for (int step = 0; step < 8; ++step) {
          store_bytes(out + (8 * part + step) * 64, rounded(codes.step[step], factor, offset));
        }
      }
    }
  }

  // How stored codes are read; returns the largest number that any code could stand for, never 0.
  template <int kBits, bool kMinimum>
  static Floats read_lines(const uint8_t* source, Line (&lines)[kParts]) {
    constexpr float kZero = kBits == 8 ? 128.0f : kMinimum ? 0.0f : 8.0f;
    constexpr float kLast = kBits == 8 ? 255.0f : 15.0f;
    Floats most = splat(0x1p-60f);
    for (int part = 0; part < kParts; ++part) {
      const uint8_t* group = source + part * kGroupBytes<kBits, kMinimum>;
      const uint16_t* halves = reinterpret_cast<const uint16_t*>(group + (kBits == 4 ? 256 : 512));
      const Floats scale = load_half(halves);
      const Floats lowest = multiply_add(scale, splat(-kZero), kMinimum ? load_half(halves + 16) : zeros());
      lines[part] = {scale, lowest};
      most = maximum(most, maximum(absolute(lowest), absolute(multiply_add(scale, splat(kLast), lowest))));
    }
    return most;
  }

  static Integers rounded(Integers codes, Floats factor, Floats offset) {
    Integers result = integer_zeros();
    for (int index = 0; index < 4; ++index) {
      const Floats number = multiply_add(to_floats(byte_of(codes, index)), factor, offset);
      result = put_byte(result, to_integers(number), index);
    }
    return result;
  }

  const Matrix& weight_;
  int64_t num_groups_;
  uint8_t* codes_;
  float* unit_;
};

}  // namespace deepseek::ISA
