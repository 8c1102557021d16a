// A quantised matrix as it lies in a packed file (native_layout.py writes it).
//
// Rows go in blocks of 16, columns in groups of 32; a block's groups follow one another. One group of a block:
//   int4  256 bytes of codes 0..15: vector t < 4, byte 4 r + j holds column 8 t + j of row r in its low and
//         column 8 t + 4 + j in its high nibble
//   int8  512 bytes of codes 0..255, the number plus 128: vector t < 8, byte 4 r + j is column 4 t + j of row r
//   then  16 scales in float16, and, if there are minima, 16 minima in float16
// w = unit[row] * (scale * (code - zero) + minimum); zero is 8 or 128 without minima, and 0 (int4) or 128 (int8)
// with them. Rows are filled up with zeros to a whole block.
#pragma once

#include <cstdint>

namespace deepseek {

constexpr int kBlockRows = 16;
constexpr int kGroup = 32;

struct Matrix {
  int32_t bits;         // 4 or 8
  int32_t has_minimum;  // 0 or 1
  int64_t rows;
  int64_t columns;        // a multiple of 32
  const uint8_t* blocks;  // (ceil(rows / 16), columns / 32, group bytes)
  const float* unit;      // (16 * ceil(rows / 16))

  int64_t num_blocks() const { return (rows + kBlockRows - 1) / kBlockRows; }
  int64_t num_groups() const { return columns / kGroup; }
  int64_t group_bytes() const { return (bits == 4 ? 256 : 512) + (has_minimum ? 64 : 32); }
  int64_t block_bytes() const { return num_groups() * group_bytes(); }
};

}  // namespace deepseek
