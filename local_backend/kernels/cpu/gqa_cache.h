// The cache of grouped-query attention: bfloat16 keys and values in tiles of 16 positions.
//
// Slot s is position s % 16 of tile s / 16. A tile holds, per key head, keys and then values, head_dim filled
// up with zeros to D, a multiple of 32; each is 16 rows of 32-bit words, a word being two bfloat16:
//   keys    row d / 2, word p: dimensions d (low half) and d + 1 (high half) of position p
//   values  of position p, words 16 v + i for v < D / 32: dimensions 32 v + i (low) and 32 v + 16 + i (high)
// So a score takes one load for two dimensions of sixteen positions, a weighted sum one for 32 dimensions of
// one position, and either half becomes float32 in one instruction.
#pragma once

#include <cstdint>

namespace deepseek {

constexpr int64_t kTilePositions = 16;
constexpr int64_t kMaxHeadDim = 256;

struct KeyValueCache {
  uint32_t* tiles;
  int64_t num_kv_heads;
  int64_t head_dim;    // at most 256
  int64_t block_size;  // positions of a block, a multiple of 16

  int64_t padded_dim() const { return (head_dim + 31) / 32 * 32; }
  int64_t half_words() const { return kTilePositions * padded_dim() / 2; }
  uint32_t* keys(int64_t tile, int64_t head) const { return tiles + (tile * num_kv_heads + head) * 2 * half_words(); }
  uint32_t* values(int64_t tile, int64_t head) const { return keys(tile, head) + half_words(); }
};

// The new rows of one sequence. The last of them sees context_len positions, each before it one fewer.
struct AttentionSegment {
  const int32_t* block_table;
  int64_t first_row;  // of the queries
  int64_t num_rows;
  int64_t context_len;

  int64_t num_tiles() const { return (context_len + kTilePositions - 1) / kTilePositions; }
  int64_t visible(int64_t row) const { return context_len - (num_rows - 1 - row); }
  int64_t tile(const KeyValueCache& cache, int64_t index) const {
    const int64_t per_block = cache.block_size / kTilePositions;
    return block_table[index / per_block] * per_block + index % per_block;
  }
};

}  // namespace deepseek
