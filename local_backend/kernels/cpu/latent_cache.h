// The tiled latent cache: what native_attention.py hands over.
//
// A tile holds 16 positions. Codes are the number plus 128, interleaved so that one 64-byte load has four
// neighbouring numbers of each position:
//   (rank + rope) / 4 vectors; byte 4 p + j of vector t is number 4 t + j of position p
//   16 float32, what a code counts in each position's latent
//   16 float32, what a code counts in each position's rotary key
#pragma once

#include <cstdint>

#include "gqa_cache.h"

namespace deepseek {

constexpr int kTile = kTilePositions;

// How many numbers the two parts of a key have, each a multiple of 16.
struct KeyShape {
  int64_t rank;
  int64_t rope;

  int64_t width() const { return rank + rope; }
  int64_t code_bytes() const { return width() * kTile; }
  int64_t tile_bytes() const { return code_bytes() + 2 * kTile * static_cast<int64_t>(sizeof(float)); }
};

// One layer's tiles.
struct LatentCache {
  uint8_t* tiles;
  KeyShape shape;
  int64_t tiles_per_block;

  uint8_t* tile(int64_t index) const { return tiles + index * shape.tile_bytes(); }
  const uint8_t* tile_of(const AttentionSegment& segment, int64_t index) const {
    const int64_t block = segment.block_table[index / tiles_per_block];
    return tile(block * tiles_per_block + index % tiles_per_block);
  }
};

// What keys and values of all heads are made of: rows of k_up and v_up as int8, in blocks of 8 rows that take four
// numbers of each in turn. A head's rows of k_up come first, then those of v_up, filled up with zeros to 16.
struct LatentExpansion {
  const int8_t* codes;   // (num_heads, (nope + values) / 8, rank / 4, 8, 4)
  const float* unit;     // (num_heads, nope + values)
  const int32_t* start;  // the same: -128 times the sum of a row's codes
  int64_t num_heads;
  int64_t nope;  // a multiple of 16
  int64_t value;

  int64_t values() const { return (value + 15) / 16 * 16; }
  int64_t rows() const { return nope + values(); }
};

}  // namespace deepseek
