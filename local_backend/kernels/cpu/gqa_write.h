// Puts keys and values into their tiles, and takes them out again.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "gqa_cache.h"
#include "simd.h"
#include "thread_pool.h"

namespace deepseek::ISA {

constexpr int64_t kWrittenAtOnce = 16;  // positions of a piece of work

// To nearest, ties to even; NaN stays NaN.
inline uint32_t to_bfloat16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return bits >> 16 | 0x40u;
  return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

inline float from_bfloat16(uint32_t bits) { return std::bit_cast<float>(bits << 16); }

inline void write_position(const KeyValueCache& cache, int64_t slot, int64_t head, const float* key,
                           const float* value) {
  const int64_t tile = slot / kTilePositions, position = slot % kTilePositions, dims = cache.head_dim;
  uint32_t* keys = cache.keys(tile, head) + position;
  uint32_t* values = cache.values(tile, head) + position * cache.padded_dim() / 2;
  const auto rounded = [dims](const float* x, int64_t dim) { return dim < dims ? to_bfloat16(x[dim]) : 0u; };
  for (int64_t dim = 0; dim < cache.padded_dim(); dim += 2) {
    keys[dim / 2 * kTilePositions] = rounded(key, dim) | rounded(key, dim + 1) << 16;
  }
  for (int64_t dim = 0; dim < cache.padded_dim(); dim += 32) {
    for (int64_t lane = 0; lane < 16; ++lane) {
      values[dim / 2 + lane] = rounded(value, dim + lane) | rounded(value, dim + lane + 16) << 16;
    }
  }
}

// Rows of key and value lie key_stride and value_stride floats apart, their heads one after another.
inline void gqa_write(ThreadPool& pool, const KeyValueCache& cache, const int64_t* slots, int64_t num_rows,
                      const float* key, int64_t key_stride, const float* value, int64_t value_stride) {
  pool.run((num_rows + kWrittenAtOnce - 1) / kWrittenAtOnce, [&](int64_t piece, int) {
    for (int64_t row = piece * kWrittenAtOnce; row < std::min(num_rows, (piece + 1) * kWrittenAtOnce); ++row) {
      for (int64_t head = 0; head < cache.num_kv_heads; ++head) {
        write_position(cache, slots[row], head, key + row * key_stride + head * cache.head_dim,
                       value + row * value_stride + head * cache.head_dim);
      }
    }
  });
}

// key and value (num_rows, num_kv_heads, head_dim) float32.
inline void gqa_read(const KeyValueCache& cache, const int64_t* slots, int64_t num_rows, float* key, float* value) {
  for (int64_t index = 0; index < num_rows * cache.num_kv_heads; ++index) {
    const int64_t slot = slots[index / cache.num_kv_heads], head = index % cache.num_kv_heads;
    const int64_t position = slot % kTilePositions;
    const uint32_t* keys = cache.keys(slot / kTilePositions, head) + position;
    const uint32_t* values = cache.values(slot / kTilePositions, head) + position * cache.padded_dim() / 2;
    for (int64_t dim = 0; dim < cache.head_dim; ++dim) {
      const uint32_t key_word = keys[dim / 2 * kTilePositions], value_word = values[dim / 32 * 16 + dim % 16];
      key[index * cache.head_dim + dim] = from_bfloat16(dim % 2 ? key_word >> 16 : key_word & 0xffffu);
      value[index * cache.head_dim + dim] = from_bfloat16(dim % 32 >= 16 ? value_word >> 16 : value_word & 0xffffu);
    }
  }
}

}  // namespace deepseek::ISA
